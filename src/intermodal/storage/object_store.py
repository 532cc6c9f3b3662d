"""Object stores: files below an artifact root (gs://, s3://), and whether they are there unchanged."""

import base64
import hashlib
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from intermodal.runtime.errors import ConfigurationError, PlatformError

_CONNECT_SECONDS, _READ_SECONDS, _ATTEMPTS = 10, 60, 4
_HASH = "sha256"


@dataclass(frozen=True)
class Content:
    """The content of an object.

    Attributes:
        body: A file, or bytes.
    """

    body: Path | bytes

    @cached_property
    def size(self) -> int:
        """Bytes."""
        return len(self.body) if isinstance(self.body, bytes) else self.body.stat().st_size

    @cached_property
    def sha256(self) -> bytes:
        """The SHA-256 of the content."""
        return self._hash("sha256")

    @cached_property
    def md5(self) -> bytes:
        """The MD5 of the content, which stores keep of each object."""
        return self._hash("md5")

    def _hash(self, name: str) -> bytes:
        if isinstance(self.body, bytes):
            return hashlib.new(name, self.body, usedforsecurity=False).digest()
        with self.body.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.new(name, usedforsecurity=False)).digest()


class ObjectStore(Protocol):
    """One bucket. Errors are `PlatformError`; every request has a timeout and is retried: a write-once put may be repeated."""

    def keys(self, prefix: str) -> set[str]:
        """Return the keys that start with a prefix."""

    def holds(self, key: str, content: Content) -> bool:
        """Whether there is an object of that key with that content, by what the store says of it without a download."""

    def put(self, key: str, content: Content) -> None:
        """Upload an object; it appears whole."""

    def get(self, key: str, path: Path) -> None:
        """Download an object to a file."""

    def delete(self, key: str) -> None:
        """Delete an object, if it is there."""


def open_object_store(root: str, endpoint: str | None = None) -> ObjectStore:
    """Return the bucket of an artifact root.

    Args:
        root: For instance ``s3://pipelines/dev``.
        endpoint: URL of an S3-compatible store that is not AWS; for gs:// Google's client reads `STORAGE_EMULATOR_HOST`.

    Raises:
        ConfigurationError: The scheme is neither gs nor s3, or its client is not installed.
    """
    parts = urlsplit(root)
    try:
        if parts.scheme == "gs":
            return _CloudStorage(parts.netloc)
        if parts.scheme == "s3":
            return _S3(parts.netloc, endpoint)
    except ModuleNotFoundError as error:
        extra = "vertex" if parts.scheme == "gs" else "kubeflow"
        raise ConfigurationError(
            f"{root}: the client for {parts.scheme}:// is not installed ({error.name}); pip install 'intermodal[{extra}]'"
        ) from error
    raise ConfigurationError(f"{root}: an artifact root starts with gs:// or s3://")


def place_of(uri: str, endpoint: str | None = None) -> tuple[ObjectStore, str]:
    """Return the bucket of a URI, and the key in it.

    Args:
        uri: For instance ``s3://pipelines/dev/run/task/examples``; minio:// is Kubeflow's name for an S3 server of its own.
        endpoint: URL of an S3-compatible store that is not AWS.

    Raises:
        ConfigurationError: The scheme is not known, or minio:// without an endpoint.
        PlatformError: There are no credentials.
    """
    parts = urlsplit(uri)
    if parts.scheme == "minio" and not endpoint:
        raise ConfigurationError(
            f"{uri}: the address of its store is not known; set `storage_endpoint` in targets.toml (in a task: the variable AWS_ENDPOINT_URL)"
        )
    scheme = "s3" if parts.scheme == "minio" else parts.scheme
    return open_object_store(f"{scheme}://{parts.netloc}", endpoint if scheme == "s3" else None), unquote(parts.path).strip("/")


def endpoint_here() -> str | None:
    """Return the URL of the S3-compatible store that the environment of a task names; None where it is AWS."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


class _CloudStorage:
    def __init__(self, bucket: str) -> None:
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError
        from google.cloud import storage
        from requests.exceptions import InvalidJSONError

        # Errors left after the client's own retries, and those it raises for a web page, or JSON that is not an object, with status 200.
        self._unreadable = (InvalidJSONError, AttributeError)
        self._errors: tuple[type[Exception], ...] = (GoogleAPIError, GoogleAuthError, ConnectionError, TimeoutError, *self._unreadable)
        self._name = bucket
        try:
            self._bucket: Any = storage.Client().bucket(bucket)
        except (*self._errors, OSError) as error:
            raise PlatformError(
                f"gs://{bucket}: no credentials for Google Cloud ({error}); run `gcloud auth application-default login`, or set "
                "GOOGLE_APPLICATION_CREDENTIALS"
            ) from error

    def keys(self, prefix: str) -> set[str]:
        try:
            return {blob.name for blob in self._bucket.list_blobs(prefix=prefix, **_request())}
        except self._errors as error:
            raise self._in_words(prefix, error) from error

    def holds(self, key: str, content: Content) -> bool:
        try:
            blob = self._bucket.get_blob(key, **_request())
            return blob is not None and blob.size == content.size and blob.md5_hash == base64.b64encode(content.md5).decode()
        except self._errors as error:
            raise self._in_words(key, error) from error

    def put(self, key: str, content: Content) -> None:
        blob = self._bucket.blob(key)
        try:
            # Equal content has an equal name: an object that is there already is the same.
            if isinstance(content.body, bytes):
                blob.upload_from_string(content.body, checksum="crc32c", **_request())
            else:
                blob.upload_from_filename(str(content.body), checksum="crc32c", **_request())
        except self._errors as error:
            raise self._in_words(key, error) from error

    def get(self, key: str, path: Path) -> None:
        try:
            self._bucket.blob(key).download_to_filename(str(path), **_request())
        except self._errors as error:
            raise self._in_words(key, error) from error

    def delete(self, key: str) -> None:
        from google.api_core.exceptions import NotFound

        try:
            self._bucket.blob(key).delete(**_request())
        except NotFound:
            return
        except self._errors as error:
            raise self._in_words(key, error) from error

    def _in_words(self, key: str, error: Exception) -> PlatformError:
        status = getattr(error, "code", None)
        if isinstance(error, self._unreadable):
            return PlatformError(
                f"gs://{self._name}: the answer is not from Cloud Storage, but a web page or half an answer (the login page of a proxy?); correct "
                "HTTPS_PROXY; nothing was written there"
            )
        if status == 404:
            return PlatformError(f"gs://{self._name}: there is no such bucket; create it or correct `root` in targets.toml")
        if status in (401, 403):
            return PlatformError(
                f"gs://{self._name}: these credentials may not write there; the bucket may be somebody else's: "
                "correct `root`, or ask for roles/storage.objectUser"
            )
        return PlatformError(f"gs://{self._name}/{key}: the store did not answer as expected ({error}); nothing was written there, try again")


def _request() -> dict[str, Any]:
    from google.cloud.storage.retry import DEFAULT_RETRY

    return {"timeout": (_CONNECT_SECONDS, _READ_SECONDS), "retry": DEFAULT_RETRY.with_timeout(60.0)}


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

    def keys(self, prefix: str) -> set[str]:
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._name, Prefix=prefix)
            return {each["Key"] for page in pages for each in page.get("Contents", [])}
        except self._errors as error:
            raise self._in_words(error) from error

    def holds(self, key: str, content: Content) -> bool:
        try:
            head = self._client.head_object(Bucket=self._name, Key=key)
        except self._errors as error:
            if str(getattr(error, "response", {}).get("Error", {}).get("Code", "")) in ("404", "NoSuchKey"):
                return False
            raise self._in_words(error) from error
        if head["ContentLength"] != content.size:
            return False
        etag = head["ETag"].strip('"')
        encrypted = head.get("SSECustomerAlgorithm") or head.get("ServerSideEncryption", "").startswith("aws:")
        if re.fullmatch("[0-9a-f]{32}", etag) and not encrypted:
            return bool(etag == content.md5.hex())
        # The etag of an object sent in parts, or encrypted with a customer's key, is not its MD5: compare the metadata that `put` wrote.
        return bool(head["Metadata"].get(_HASH) == content.sha256.hex())

    def put(self, key: str, content: Content) -> None:
        beside = {_HASH: content.sha256.hex()}
        try:
            if isinstance(content.body, bytes):
                self._client.put_object(Bucket=self._name, Key=key, Body=content.body, Metadata=beside)
            else:
                self._client.upload_file(str(content.body), self._name, key, ExtraArgs={"Metadata": beside})
        except self._errors as error:
            raise self._in_words(error) from error

    def get(self, key: str, path: Path) -> None:
        try:
            self._client.download_file(self._name, key, str(path))
        except self._errors as error:
            raise self._in_words(error) from error

    def delete(self, key: str) -> None:
        try:
            self._client.delete_object(Bucket=self._name, Key=key)
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
        return PlatformError(f"{where}: the store did not answer as expected ({cause}); nothing was written there, try again")
