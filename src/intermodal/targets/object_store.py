"""Object stores: write-once files below an artifact root (gs://, s3://, minio://)."""

from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from intermodal.errors import ConfigurationError, PlatformError

_CONNECT_SECONDS, _READ_SECONDS, _ATTEMPTS = 10, 60, 4


class ObjectStore(Protocol):
    """One bucket. Errors are `PlatformError`; every request has a timeout and is retried: a write-once put may be repeated."""

    def exists(self, key: str) -> bool:
        """Whether there is an object of that key."""

    def put(self, key: str, path: Path) -> None:
        """Upload a file; the object appears whole."""

    def put_text(self, key: str, text: str) -> None:
        """Write a small object."""


def open_object_store(root: str, endpoint: str | None = None) -> ObjectStore:
    """Return the bucket that an artifact root lies in.

    Args:
        root: For instance ``s3://pipelines/dev``.
        endpoint: URL of an S3-compatible store that is not AWS; for gs:// the variable `STORAGE_EMULATOR_HOST` serves, as Google's client has it.

    Raises:
        ConfigurationError: The scheme is none of gs, s3, minio, or its client is not installed.
    """
    parts = urlsplit(root)
    try:
        if parts.scheme == "gs":
            return _CloudStorage(parts.netloc)
        if parts.scheme in ("s3", "minio"):
            return _S3(parts.netloc, endpoint)
    except ModuleNotFoundError as error:
        extra = "vertex" if parts.scheme == "gs" else "kubeflow"
        raise ConfigurationError(
            f"{root}: the client for {parts.scheme}:// is not installed ({error.name}); pip install 'intermodal[{extra}]'"
        ) from error
    raise ConfigurationError(f"{root}: an artifact root starts with gs://, s3:// or minio://")


class _CloudStorage:
    def __init__(self, bucket: str) -> None:
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError
        from google.cloud import storage

        # What the client's own retries let through when they give up.
        self._errors: tuple[type[Exception], ...] = (GoogleAPIError, GoogleAuthError, ConnectionError, TimeoutError)
        self._name = bucket
        try:
            self._bucket: Any = storage.Client().bucket(bucket)
        except (*self._errors, OSError) as error:
            raise PlatformError(
                f"gs://{bucket}: no credentials for Google Cloud ({error}); run `gcloud auth application-default login`, or set "
                "GOOGLE_APPLICATION_CREDENTIALS"
            ) from error

    def exists(self, key: str) -> bool:
        try:
            return bool(self._bucket.blob(key).exists(timeout=(_CONNECT_SECONDS, _READ_SECONDS), retry=_patience()))
        except self._errors as error:
            raise self._in_words(key, error) from error

    def put(self, key: str, path: Path) -> None:
        try:
            # Equal content has an equal name: whoever came first wrote the same.
            self._bucket.blob(key).upload_from_filename(str(path), timeout=(_CONNECT_SECONDS, _READ_SECONDS), retry=_patience(), checksum="crc32c")
        except self._errors as error:
            raise self._in_words(key, error) from error

    def put_text(self, key: str, text: str) -> None:
        try:
            self._bucket.blob(key).upload_from_string(text, timeout=(_CONNECT_SECONDS, _READ_SECONDS), retry=_patience())
        except self._errors as error:
            raise self._in_words(key, error) from error

    def _in_words(self, key: str, error: Exception) -> PlatformError:
        status = getattr(error, "code", None)
        if status == 404:
            return PlatformError(f"gs://{self._name}: there is no such bucket; create it or correct `root` in targets.toml")
        if status in (401, 403):
            return PlatformError(
                f"gs://{self._name}: these credentials may not write there; the bucket may be somebody else's: "
                "correct `root`, or ask for roles/storage.objectUser"
            )
        return PlatformError(f"gs://{self._name}/{key}: the store did not answer as it should ({error}); nothing was submitted, try again")


def _patience() -> Any:
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_timeout(60.0)


class _S3:
    def __init__(self, bucket: str, endpoint: str | None) -> None:
        import boto3
        from boto3.exceptions import Boto3Error
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        self._errors: tuple[type[Exception], ...] = (BotoCoreError, ClientError, Boto3Error)
        self._name, self._endpoint = bucket, endpoint
        self._client: Any = boto3.Session().client(
            "s3",
            endpoint_url=endpoint,
            config=Config(
                connect_timeout=_CONNECT_SECONDS,
                read_timeout=_READ_SECONDS,
                retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
                s3={"addressing_style": "path"} if endpoint else {},
            ),
        )

    def exists(self, key: str) -> bool:
        try:
            found = self._client.list_objects_v2(Bucket=self._name, Prefix=key, MaxKeys=1).get("Contents", [])
        except self._errors as error:
            raise self._in_words(error) from error
        return any(each["Key"] == key for each in found)

    def put(self, key: str, path: Path) -> None:
        try:
            self._client.upload_file(str(path), self._name, key)
        except self._errors as error:
            raise self._in_words(error) from error

    def put_text(self, key: str, text: str) -> None:
        try:
            self._client.put_object(Bucket=self._name, Key=key, Body=text.encode())
        except self._errors as error:
            raise self._in_words(error) from error

    def _in_words(self, error: Exception) -> PlatformError:
        where = f"s3://{self._name}" + (f" at {self._endpoint}" if self._endpoint else "")
        cause = error.__context__ if type(error).__module__.startswith("boto3.") and error.__context__ else error
        code = str(getattr(cause, "response", {}).get("Error", {}).get("Code", ""))
        if code in ("NoSuchBucket", "404"):
            return PlatformError(f"{where}: there is no such bucket; create it or correct `root` in targets.toml")
        if code in ("AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"):
            return PlatformError(
                f"{where}: refused ({code}); the bucket may be somebody else's, or the credentials (AWS_ACCESS_KEY_ID, ~/.aws) are wrong or expired"
            )
        if type(cause).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
            return PlatformError(f"{where}: there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write ~/.aws/credentials")
        return PlatformError(f"{where}: the store did not answer as it should ({cause}); nothing was submitted, try again")
