"""The way to Vertex AI and Cloud Logging: Google's clients, credentials, retries, and their errors in words."""

from collections.abc import Callable, Iterator
from datetime import datetime
from json import JSONDecodeError
from typing import Any, TypeVar
from urllib.parse import urlsplit

import google.auth
from google.api_core import exceptions as api
from google.api_core.retry import Retry
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
from google.cloud import aiplatform_v1 as aiplatform
from google.protobuf.json_format import ParseError
from requests.exceptions import InvalidJSONError, RequestException

from intermodal.platforms.vertex.settings import VertexSettings
from intermodal.runtime.errors import DeniedError, PlatformError

#: Seconds for one request.
TIMEOUT = 60.0
_TRANSIENT = (api.TooManyRequests, api.InternalServerError, api.BadGateway, api.ServiceUnavailable, api.GatewayTimeout, RequestException)
# An answer with status 200 that is not what the API says.
_UNREADABLE = (ParseError, InvalidJSONError, JSONDecodeError)

T = TypeVar("T")


class VertexClient:
    """Requests to one project and region. See `target.VertexTarget` for the arguments.

    Attributes:
        parent: The location's resource name.
        retry: For requests that page by themselves.
    """

    def __init__(self, settings: VertexSettings, pause: float, patience: float, credentials: Any) -> None:
        self._settings = settings
        self._given = credentials
        self._loopback = urlsplit(settings.endpoint).hostname in ("127.0.0.1", "localhost", "::1")
        self._made: dict[type, Any] = {}
        self.parent = f"projects/{settings.project}/locations/{settings.region}"
        self.retry = Retry(predicate=_transient, initial=pause, maximum=10.0 if pause >= 1 else pause, timeout=patience)

    @property
    def pipelines(self) -> Any:
        """The client of pipeline jobs."""
        return self._client(aiplatform.PipelineServiceClient)

    @property
    def previews(self) -> Any:
        """The client of pipeline jobs, with what is in preview."""
        from google.cloud import aiplatform_v1beta1 as preview  # heavy, and needed only for retries

        return self._client(preview.PipelineServiceClient)

    @property
    def schedules(self) -> Any:
        """The client of schedules."""
        return self._client(aiplatform.ScheduleServiceClient)

    @property
    def jobs(self) -> Any:
        """The client of custom jobs."""
        return self._client(aiplatform.JobServiceClient)

    def entries(self, job: str, since: datetime) -> Iterator[tuple[str, str]]:
        """Yield (machine, line) as Cloud Logging has them of a custom job, oldest first; the machine is `workerpool0-0` and so on, or empty.

        Args:
            job: Its number.
            since: No later than its first line: without a bound Google's client asks for the last 24 hours only.
        """
        from google.cloud import logging as cloud_logging

        options = {"api_endpoint": self._settings.endpoint} if self._loopback else None  # another endpoint is that of Vertex AI only
        client = cloud_logging.Client(project=self._settings.project, credentials=self._credentials(), _use_grpc=False, client_options=options)
        text = f'resource.type="ml_job" AND resource.labels.job_id="{job}" AND timestamp>="{since.isoformat()}"'
        for entry in self.call(
            lambda: list(client.list_entries(filter_=text, order_by=cloud_logging.ASCENDING, page_size=1000)), role="roles/logging.viewer"
        ):
            payload = entry.payload if isinstance(entry.payload, str) else (entry.payload or {}).get("message", "")
            machine = str(((entry.resource.labels if entry.resource else None) or {}).get("task_name", ""))
            yield from ((machine, line) for line in str(payload).splitlines())

    def call(self, request: Callable[[], T], *, acts_on: tuple[type[Exception], ...] = (), role: str = "roles/aiplatform.user") -> T:
        """Send a request, and repeat it on errors that pass by themselves; any other error becomes one sentence.

        Args:
            request: One request, safe to repeat.
            acts_on: Google's errors that the caller handles: raised as they are.
            role: What the credentials need for it.

        Raises:
            PlatformError: It was refused, or was not answered in time.
        """
        try:
            answer = self.retry(request)()
        except acts_on:
            raise
        except _UNREADABLE as error:
            raise self._not_the_api() from error
        except (api.GoogleAPIError, GoogleAuthError, RequestException, TimeoutError) as error:
            denied = isinstance(error, (api.Unauthorized, api.Forbidden)) or (isinstance(error, GoogleAuthError) and not _transient(error))
            raise (DeniedError if denied else PlatformError)(f"{self.parent}: {self._in_words(error, role)}") from error
        if getattr(answer, "name", None) == "":  # other JSON: all that it says is unknown to the client, and left out
            raise self._not_the_api()
        return answer

    def _not_the_api(self) -> PlatformError:
        return PlatformError(
            f"{self.parent}: what answers is not Google's API, but a page or half an answer (the login page of a proxy?); correct HTTPS_PROXY, or "
            "`endpoint` in targets.toml; whether the request was taken is not known: the same command with the same --key is safe to repeat"
        )

    def _in_words(self, error: Exception, role: str) -> str:
        said = _first_line(error)
        if isinstance(error, api.Unauthorized) or (isinstance(error, GoogleAuthError) and not _transient(error)):
            return f"the credentials are expired or revoked ({said}); run `gcloud auth application-default login` again"
        if isinstance(error, api.Forbidden) and (error.reason == "SERVICE_DISABLED" or "has not been used in project" in said):
            service = "logging.googleapis.com" if "logging" in role else "aiplatform.googleapis.com"
            return f"the API is not enabled ({said}); run `gcloud services enable {service} --project {self._settings.project}`"
        if isinstance(error, api.Forbidden):
            if "actAs" in said or "act as" in said:
                role = f"roles/iam.serviceAccountUser on {self._settings.service_account or 'the default service account'}"
            return f"these credentials may not do this ({said}); ask for {role}"
        if isinstance(error, api.ClientError):
            return f"Vertex AI refuses this: {error.message}"
        if isinstance(getattr(error, "cause", None), api.TooManyRequests):
            return f"a quota is used up ({said}); repeat the command later, a submission with the same --key, or ask for more quota"
        return (
            f"Vertex AI did not answer as it should ({said}); whether it took the request is not known: the same command with the same --key is "
            "safe to repeat"
        )

    def _client(self, kind: Any) -> Any:
        if kind not in self._made:
            endpoint = self._settings.endpoint or f"{self._settings.region}-aiplatform.googleapis.com"
            self._made[kind] = kind(transport="rest", credentials=self._credentials(), client_options={"api_endpoint": endpoint})
        return self._made[kind]

    def _credentials(self) -> Any:
        if self._given:
            return self._given
        if self._loopback:
            return AnonymousCredentials()
        try:
            credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
        except DefaultCredentialsError as error:
            raise PlatformError(
                f"{self.parent}: there are no Application Default Credentials ({error}); run `gcloud auth application-default login`, or set "
                "GOOGLE_APPLICATION_CREDENTIALS"
            ) from error
        return credentials


def word(state: Any, prefix: str = "") -> str:
    """Return a state's name without what all of its kind start with."""
    return str(getattr(state, "name", state)).removeprefix(prefix)


def timestamp(value: Any) -> datetime | None:
    """Return a proto's time as a plain one."""
    return datetime.fromtimestamp(value.timestamp(), value.tzinfo) if value else None


def _transient(error: BaseException) -> bool:
    if isinstance(error, _UNREADABLE):
        return False
    return isinstance(error, (*_TRANSIENT, TransportError)) or (isinstance(error, GoogleAuthError) and error.retryable)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
