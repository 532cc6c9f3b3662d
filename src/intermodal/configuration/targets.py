"""`targets.toml`: which platforms there are, by profile, and what each needs to know; never a secret."""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from intermodal.runtime.errors import ConfigurationError, nearest
from intermodal.runtime.safe_yaml import read_text
from intermodal.runtime.secret_values import refuse_secrets

_SECRETS = (
    "this file is committed too: name a Kubernetes secret (tasks.NAME.secrets), a token file or command, or use Application Default Credentials"
)

# The service ml-pipeline has the API at this port, and no pages; those are the service ml-pipeline-ui's.
_API_PORT, _PAGES = 8888, "http://127.0.0.1:8080"

Labels = dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")], Annotated[str, Field(pattern=r"^[a-z0-9_-]{0,63}$")]]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Shape(_Table):
    """A machine for a task, by name; each platform spells it in its own way."""

    cpu: float | None = Field(None, gt=0, description="Virtual CPUs")
    memory: str | None = Field(None, pattern=r"^[1-9]\d*(Ki|Mi|Gi|K|M|G)$", description='For instance "32G"')
    accelerator: str | None = Field(None, description="t4, l4, a100, h100, …: a name of `resources.ACCELERATORS`")
    accelerators: int = Field(1, ge=1, description="How many")


class Secret(_Table):
    """A Kubernetes secret, named; its values never pass through here."""

    name: str
    env: dict[str, str] = Field({}, description="Environment variable to key of the secret")
    path: str | None = Field(None, description="Folder to mount it at")


class Volume(_Table):
    """A persistent volume claim to mount."""

    claim: str
    path: str


class Toleration(_Table):
    """A Kubernetes toleration."""

    key: str
    operator: Literal["Exists", "Equal"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class TaskSettings(_Table):
    """What one task gets. All but `shape` belongs to Kubernetes, and so to Kubeflow."""

    shape: str | None = None
    secrets: list[Secret] = []
    volumes: list[Volume] = []
    tolerations: list[Toleration] = []
    node_selector: dict[str, str] = {}
    tpu_topology: str | None = Field(None, description='For instance "2x4", with the accelerator of the shape')

    @property
    def kubernetes_only(self) -> list[str]:
        """The keys given here that only Kubernetes understands."""
        return [key for key in ("secrets", "volumes", "tolerations", "node_selector", "tpu_topology") if getattr(self, key)]


class _Remote(_Table):
    image_repository: str = Field(description="Registry and path of the images")
    labels: Labels = {}
    cached: bool = Field(True, description="False: nothing is reused")
    retries: int = Field(0, ge=0, le=10, description="Times a failed task is started again")
    set: dict[str, Any] = Field({}, description="Configuration keys that differ here, as with --set")
    tasks: dict[str, TaskSettings] = Field({}, description="By task name, as the compiled file has it")
    start_timeout: float = Field(
        1800.0,
        ge=0,
        description="Seconds for which `--wait` lets a run wait for images or machines while none of its tasks runs; 0: no limit",
    )


class TokenSource(_Table):
    """Where a bearer token is read from, at each submission."""

    file: Path | None = None
    command: list[str] = []

    @model_validator(mode="after")
    def _one(self) -> "TokenSource":
        if (self.file is None) == (not self.command):
            raise ValueError("give either file or command")
        return self


class LocalSettings(_Table):
    """This machine."""

    home: Path = Field(default_factory=lambda: Path(os.environ.get("INTERMODAL_HOME") or ".intermodal"))
    parallelism: int | None = Field(None, ge=1, description="How many tasks run at the same time; default: as many as there are cores")
    set: dict[str, Any] = {}


class KubeflowSettings(_Remote):
    """A Kubeflow Pipelines installation."""

    endpoint: str = Field(pattern=r"^https?://", description="URL of the API")
    ui: str | None = Field(
        None,
        pattern=r"^https?://",
        description=f"URL of the pages, for links. Default: the endpoint; where that is the API's own port {_API_PORT}: {_PAGES}, "
        "where `kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80` shows them",
    )
    namespace: str = Field("", description="Multi-user installations: the profile's namespace")
    root: str = Field(pattern=r"^(s3|gs)://[^/]+", description="Artifact root")
    storage_endpoint: str | None = Field(None, pattern=r"^https?://", description="S3-compatible store that is not AWS")
    service_account: str = ""
    token: TokenSource | None = None
    ca_certificate: Path | None = None
    experiment: str = "intermodal"

    @field_validator("root", mode="before")
    @classmethod
    def _no_minio(cls, root: Any) -> Any:
        if isinstance(root, str) and root.startswith("minio://"):
            raise ValueError(
                f"{root!r}: KServe fetches no model from minio://; write s3://{root.removeprefix('minio://')}, the store's address as "
                "`storage_endpoint`, and the same in the ConfigMap kfp-launcher (docs/how-to/kubeflow.md)"
            )
        return root

    @property
    def page(self) -> str:
        """The address of the pages, for people."""
        address = self.ui or (_PAGES if urlsplit(self.endpoint).port == _API_PORT else self.endpoint)
        return address.rstrip("/")


class VertexSettings(_Remote):
    """Vertex AI Pipelines in one project and region."""

    project: str = Field(pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$")
    region: str = Field(pattern=r"^[a-z]+-[a-z]+\d+$")
    root: str = Field(pattern=r"^gs://[^/]+", description="Artifact root")
    service_account: str = Field("", pattern=r"^$|^[^@\s]+@[^@\s]+\.gserviceaccount\.com$")
    network: str = ""
    encryption_key: str = ""
    endpoint: str = Field("", description="Only to reach something else than REGION-aiplatform.googleapis.com")

    @field_validator("tasks")
    @classmethod
    def _no_kubernetes(cls, tasks: dict[str, TaskSettings]) -> dict[str, TaskSettings]:
        for name, task in tasks.items():
            if task.kubernetes_only:
                raise ValueError(
                    f"{', '.join(task.kubernetes_only)} of task {name!r} exist only on Kubernetes; Vertex takes `shape`: remove the rest"
                )
        return tasks


class Profile(_Table):
    """The targets of one environment: dev, staging, prod."""

    local: LocalSettings = LocalSettings()
    kubeflow: KubeflowSettings | None = None
    vertex: VertexSettings | None = None


class Targets(_Table):
    """The whole file."""

    default_profile: str = "dev"
    shapes: dict[str, Shape] = {}
    profiles: dict[str, Profile] = Field(min_length=1)

    @model_validator(mode="after")
    def _shapes_exist(self) -> "Targets":
        for name, profile in self.profiles.items():
            for target in (profile.kubeflow, profile.vertex):
                for task, settings in (target.tasks if target else {}).items():
                    if settings.shape and settings.shape not in self.shapes:
                        raise ValueError(f"profiles.{name}: task {task!r} wants the shape {settings.shape!r}; {nearest(settings.shape, self.shapes)}")
        return self

    def profile(self, name: str | None = None) -> Profile:
        """Return a profile.

        Args:
            name: Default: `default_profile`.

        Raises:
            ConfigurationError: There is none of that name; the message names the nearest.
        """
        wanted = name or self.default_profile
        if wanted not in self.profiles:
            raise ConfigurationError(f"targets.toml: there is no profile {wanted!r}; {nearest(wanted, self.profiles)}")
        return self.profiles[wanted]


def load_targets(path: Path) -> Targets:
    """Read and check a `targets.toml`.

    Raises:
        ConfigurationError: The file is missing, is not TOML, says something wrong or holds a secret; the message names the key and the remedy.
    """
    text = read_text(path, "copy targets.example.toml there and write your project and cluster into it")
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:  # RecursionError: nested hundreds of levels deep
        raise ConfigurationError(f"{path}: not TOML: {error}") from error
    refuse_secrets(values, str(path), _SECRETS)
    try:
        return Targets.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError("\n".join(dict.fromkeys(_in_words(path, problem) for problem in error.errors()))) from error


def _in_words(path: Path, problem: Any) -> str:
    location = [str(part) for part in problem["loc"]]
    where = f"{path}: {'.'.join(location)}" if location else f"{path}"
    if problem["type"] == "extra_forbidden":
        return f"{where}: there is no such key; {nearest(location[-1], _known(location[:-1]))}"
    if problem["type"] == "missing":
        return f"{where}: this key is required"
    if problem["type"] == "value_error":
        return f"{where}: {problem['msg'].removeprefix('Value error, ')}"
    return f"{where}: {problem['msg']}, not {problem['input']!r}"


def _known(location: list[str]) -> list[str]:
    """Return the keys that the table at `location` may have."""
    section: type[BaseModel] = Targets
    for part in location:
        annotation = section.model_fields[part].annotation if part in section.model_fields else None
        section = next((each for each in _classes(annotation) if issubclass(each, BaseModel)), section)
    return list(section.model_fields)


def _classes(annotation: Any) -> list[type]:
    inner = [each for argument in getattr(annotation, "__args__", ()) for each in _classes(argument)]
    return [annotation, *inner] if isinstance(annotation, type) and not hasattr(annotation, "__args__") else inner
