"""Kubeflow's table in `targets.toml`."""

from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from intermodal.configuration.targets import RemoteSettings, Table, TaskSettings

# The service ml-pipeline has the API at this port, and no pages; those are the service ml-pipeline-ui's.
_API_PORT, _PAGES = 8888, "http://127.0.0.1:8080"


class Secret(Table):
    """A Kubernetes secret, named; its values never pass through here."""

    name: str
    env: dict[str, str] = Field({}, description="Environment variable to key of the secret")
    path: str | None = Field(None, description="Folder to mount it at")


class Volume(Table):
    """A persistent volume claim to mount."""

    claim: str
    path: str


class Toleration(Table):
    """A Kubernetes toleration."""

    key: str
    operator: Literal["Exists", "Equal"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class KubeflowTaskSettings(TaskSettings):
    """What one task gets; all but `shape` belongs to Kubernetes."""

    secrets: list[Secret] = Field([], description="Secrets, as environment variables or files")
    volumes: list[Volume] = Field([], description="Volumes to mount")
    tolerations: list[Toleration] = Field([], description="Taints of nodes that the pod tolerates")
    node_selector: dict[str, str] = Field({}, description="Labels that the node must have")
    tpu_topology: str | None = Field(None, description='For instance "2x4", with the accelerator of the shape')

    @property
    def has_options(self) -> bool:
        """Whether anything but the shape is given."""
        return any(getattr(self, key) for key in type(self).model_fields if key != "shape")


class TokenSource(Table):
    """Where a bearer token is read from, at each submission."""

    file: Path | None = Field(None, description="Holds it")
    command: list[str] = Field([], description="Prints it")

    @model_validator(mode="after")
    def _one(self) -> "TokenSource":
        if (self.file is None) == (not self.command):
            raise ValueError("give either file or command")
        return self


class KubeflowSettings(RemoteSettings):
    """A Kubeflow Pipelines installation."""

    tasks: dict[str, KubeflowTaskSettings] = Field({}, description="By task name, as the compiled file has it")  # type: ignore[assignment]
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
    training_runtime: str = Field(
        "TrainingRuntime/intermodal-workers",
        pattern=r"^(Cluster)?TrainingRuntime/[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        description="Kubeflow Trainer's runtime for tasks with several workers: KIND/NAME",
    )
    training_queue: str = Field("", pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$", description="Kueue's queue for tasks with several workers")
    training_timeout: int = Field(0, ge=0, description="Seconds after which several workers are ended; 0: no limit. A queue's time does not count")
    tuning: Literal["task", "katib"] = Field("task", description="Where a search's trials run: in its task, or as pods of an Experiment of Katib")

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
    def root_endpoint(self) -> str | None:
        """The S3-compatible store that `root` is in."""
        return self.storage_endpoint

    @property
    def page(self) -> str:
        """The address of the pages, for people."""
        address = self.ui or (_PAGES if urlsplit(self.endpoint).port == _API_PORT else self.endpoint)
        return address.rstrip("/")
