"""The way to Kubeflow Pipelines: its generated client, tokens, retries, and its errors in words."""

import json
import re
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import kfp_server_api as api
from urllib3.exceptions import HTTPError

from intermodal.platforms.kubeflow.settings import KubeflowSettings, TokenSource
from intermodal.runtime.errors import DeniedError, PlatformError
from intermodal.runtime.redaction import remember

#: Seconds for one request.
TIMEOUT = 60
_IN_CLUSTER_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")
_TRANSIENT = (429, 502, 503, 504)
# The backend answers 500 to what it refuses and to what it cannot do just now, its database's troubles for instance; only the words differ.
_PASSING = re.compile(
    r"connection (refused|reset)|bad connection|broken pipe|EOF|time(d )?out|deadline exceeded|deadlock|lock wait|too many connections|unavailable"
    r"|try again|no such host|etcdserver|context canceled",
    re.IGNORECASE,
)

T = TypeVar("T")


class RefusedError(PlatformError):
    """The request is refused as it is: 400 or 409."""


class MissingError(PlatformError):
    """There is no such thing: 404."""


class NoLogError(PlatformError):
    """There is no log of that name."""


class KubeflowClient:
    """Requests to one installation. See `target.KubeflowTarget` for the arguments.

    Attributes:
        where: Its address.
    """

    def __init__(self, settings: KubeflowSettings, pause: float, attempts: int, sleep: Callable[[float], None]) -> None:
        self._settings = settings
        self._pause, self._attempts, self._sleep = pause, attempts, sleep
        self._opened: Any = None
        self.where = settings.endpoint

    @property
    def _client(self) -> Any:
        if self._opened is None:
            configuration = api.Configuration(host=self._settings.endpoint.rstrip("/"))
            if self._settings.ca_certificate:
                configuration.ssl_ca_cert = str(self._settings.ca_certificate)
            configuration.api_key_prefix["authorization"] = "Bearer"
            configuration.retries = False
            self._opened = _Client(configuration)
            self._read_token()
        return self._opened

    def _read_token(self) -> bool:
        """Read the token again; whether it is another one than before."""
        keys = self._opened.configuration.api_key
        before, now = keys.get("authorization"), _token(self._settings.token)
        if now:
            remember(now)
            keys["authorization"] = now
        return now not in (None, before)

    @property
    def experiments(self) -> Any:
        """The API of experiments."""
        return api.ExperimentServiceApi(self._client)

    @property
    def runs(self) -> Any:
        """The API of runs."""
        return api.RunServiceApi(self._client)

    @property
    def recurring_runs(self) -> Any:
        """The API of schedules."""
        return api.RecurringRunServiceApi(self._client)

    @property
    def pipelines(self) -> Any:
        """The API of pipelines that are kept there."""
        return api.PipelineServiceApi(self._client)

    @property
    def uploads(self) -> Any:
        """The API by which pipelines get there."""
        return api.PipelineUploadServiceApi(self._client)

    def log(self, path: str, *, attempts: int | None = None) -> str:
        """Return a log from its route, which the generated client lacks.

        Raises:
            NoLogError: There is none of that name; the message is the backend's reason.
            MissingError: There is no such route.
            PlatformError: See `call`.
        """

        def once() -> str:
            ask = {"auth_settings": ["Bearer"], "_preload_content": False, "_return_http_data_only": True, "_request_timeout": TIMEOUT}
            try:
                answer = self._client.call_api(path, "GET", **ask)
            except api.ApiException as error:
                # The backend's next version says so with 500 (its run_log_server.go): no use to ask again.
                if error.status == 500 and (said := _log_missing(error.body or "")):
                    raise NoLogError(said) from error
                raise
            text = str(answer.data.decode("utf-8", "replace"))
            if "html" in (answer.getheader("Content-Type") or ""):
                raise _not_the_api(self.where)
            if said := _log_missing(text):
                raise NoLogError(said)
            return text

        return self.call(once, attempts=attempts)

    def call(
        self,
        request: Callable[[], T],
        *,
        taken: str = "",
        remedy: str = "",
        until: Callable[[T], bool] = lambda _: True,
        attempts: int | None = None,
    ) -> T:
        """Send a request, and repeat it on errors that pass by themselves; any other error becomes one sentence.

        Args:
            request: Safe to repeat.
            taken: What exists already where the answer is 409; `request` looks for it first, so that the next attempt finds it.
            remedy: What to do where it is never found.
            until: Whether an answer is the expected one.
            attempts: Default: the target's.
        """
        error: Exception | None = None
        conflicts = 0
        for attempt in range(attempts or self._attempts):
            if attempt:
                self._sleep(min(self._pause * 2 ** (attempt - 1), 10.0))
            try:
                if until(answer := request()):
                    return answer
                error = None
            except (api.ApiException, HTTPError) as caught:
                error = caught
                # Tokens last an hour and a run may last longer: the file or the command has the next one.
                if isinstance(error, api.ApiException) and error.status == 401 and self._read_token():
                    continue
                if taken and isinstance(error, api.ApiException) and error.status == 409 and conflicts < 2:
                    conflicts += 1
                    continue
                if taken and isinstance(error, api.ApiException) and error.status == 409:
                    raise PlatformError(f"{self.where}: {taken} exists (409) and is not shown; it may be somebody else's: {remedy}") from error
                if not _passes(error):
                    raise self._in_words(error) from error
        reason = _reason(error) if error else "what was written does not appear"
        raise PlatformError(
            f"{self.where}: Kubeflow Pipelines did not answer as it should ({reason}); whether it took the request is not known: the same "
            "command with the same --key is safe to repeat"
        ) from error

    def _in_words(self, error: Any) -> PlatformError:
        if error.status == 401:
            return DeniedError(
                f"{self.where}: the token is missing, wrong or expired (401); get a new one, and name its file under `token` in targets.toml"
            )
        if error.status == 403:
            return DeniedError(
                f"{self.where}: not allowed: {_reason(error)}; check `namespace` and `service_account` in targets.toml, and the rights "
                "(docs/how-to/kubeflow.md)"
            )
        if 300 <= error.status < 400:
            return PlatformError(f"{self.where}: sends on to another address (a login page?); correct `endpoint` or `token` in targets.toml")
        if error.status == 500:
            return PlatformError(f"{self.where}: Kubeflow Pipelines refuses this or broke on it (500): {_reason(error)}")
        kind = {404: MissingError, 409: RefusedError, 400: RefusedError}.get(error.status, PlatformError)
        return kind(f"{self.where}: Kubeflow Pipelines refuses this: {_reason(error)}")


class _UnreadableError(HTTPError):
    pass


# Without these a record is not the API's.
_IDENTITY = {
    "V2beta1Run": ("run_id", "display_name", "created_at"),
    "V2beta1Experiment": ("experiment_id",),
    "V2beta1RecurringRun": ("recurring_run_id", "display_name", "created_at"),
    "V2beta1Pipeline": ("pipeline_id",),
    "V2beta1PipelineVersion": ("pipeline_version_id",),
}


class _Client(api.ApiClient):  # type: ignore[misc]  # it comes without types
    """The generated client, which takes any page for an answer without members."""

    def deserialize(self, response: Any, response_type: Any) -> Any:
        try:
            value = json.loads(response.data or "{}")
        except RecursionError as error:  # nested thousands of levels deep
            raise _not_the_api(self.configuration.host) from error
        except ValueError as error:
            if response.data.lstrip().startswith("<"):
                raise _not_the_api(self.configuration.host) from error
            raise _UnreadableError("the answer is not JSON, or is cut off") from error
        if not _is(value, response_type):
            raise _not_the_api(self.configuration.host)
        try:
            return super().deserialize(response, response_type)
        except (ValueError, TypeError, AttributeError, KeyError, api.ApiException) as error:
            raise _not_the_api(self.configuration.host) from error


def _is(value: Any, kind: str) -> bool:
    """Whether a JSON value can be of a type of the API: an object, with its identity, and so for all that it lists."""
    if match := re.fullmatch(r"list\[(.+)\]", kind):
        return isinstance(value, list) and all(_is(each, match[1]) for each in value)
    if not isinstance(value, dict) or not all(isinstance(value.get(key), str) for key in _IDENTITY.get(kind, ())):
        return False
    model = getattr(api, kind, None)
    inner = {model.attribute_map[name]: each for name, each in model.openapi_types.items() if each.startswith("list[V2beta1")} if model else {}
    return all(_is(value[key], each) for key, each in inner.items() if value.get(key) is not None)


def _not_the_api(host: str) -> PlatformError:
    return PlatformError(
        f"{host}: what answers there is not the API of Kubeflow Pipelines (a login page?); correct `endpoint` or `token` in targets.toml"
    )


def _passes(error: Exception) -> bool:
    """Whether a request that failed may well succeed the next time."""
    if not isinstance(error, api.ApiException):
        return True
    own = {"code", "error_message"} & set(_members(error))  # the backend's words, rather than those of a proxy before it
    return error.status in _TRANSIENT or (error.status == 500 and (not own or bool(_PASSING.search(_reason(error)))))


def _log_missing(text: str) -> str:
    """Return why there is no log, where that is what the backend says: one object of two members; empty for anything else, a log included."""
    with suppress(ValueError, RecursionError):  # RecursionError: a log that is nested JSON
        members = json.loads(text) if text.startswith("{") else {}
        if set(members) == {"error_message", "error_details"} and all(isinstance(each, str) for each in members.values()):
            return str(members["error_message"]) or "it gives no reason"
    return ""


def _token(source: TokenSource | None) -> str | None:
    if source is None:
        return _IN_CLUSTER_TOKEN.read_text(encoding="utf-8").strip() if _IN_CLUSTER_TOKEN.exists() else None
    try:
        if source.file:
            return source.file.expanduser().read_text(encoding="utf-8").strip()
        return subprocess.run(source.command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    except OSError as error:
        raise PlatformError(f"cannot get a token: {error}; correct `token` in targets.toml") from error
    except subprocess.SubprocessError as error:
        raise PlatformError(f"cannot get a token: `{source.command[0]}` failed or did not end; run it by hand") from error


def _reason(error: Any) -> str:
    members = _members(error)
    return str(members.get("message") or members.get("error_message") or members.get("error") or getattr(error, "reason", None) or error)[:400]


def _members(error: Any) -> dict[str, Any]:
    """Return what an error's body says by name; empty for one without a body, and for one that is not JSON."""
    with suppress(ValueError, TypeError, RecursionError):
        members = json.loads(getattr(error, "body", None) or "{}")
        return members if isinstance(members, dict) else {}
    return {}
