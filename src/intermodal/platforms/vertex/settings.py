"""Vertex AI's table in `targets.toml`."""

from typing import Literal

from pydantic import Field

from intermodal.configuration.targets import RemoteSettings, Table, TaskSettings

_MACHINE = r"^[a-z][a-z0-9]*-[a-z0-9-]+$"


class ReductionServer(Table):
    """Machines that add up the workers' gradients, Vertex AI's own: for GPUs on several machines. The workers' image needs its NCCL plugin."""

    machine_type: str = Field("n1-highcpu-16", pattern=_MACHINE, description="The machine of a reducer; its bandwidth is what counts")
    replicas: int = Field(ge=1, description="How many")
    image: str = Field("us-docker.pkg.dev/vertex-ai-restricted/training/reductionserver:latest", description="Google's program")


class VertexTaskSettings(TaskSettings):
    """What one task gets; all but `shape` belongs to a CustomJob, which a task becomes that has a parameter `workers`."""

    machine_type: str | None = Field(None, pattern=_MACHINE, description="Default: the smallest that has what the shape asks for")
    spot: bool = Field(False, description="Spot machines: cheaper, and taken away at any time; the training goes on from its checkpoint")
    timeout: float = Field(604_800.0, gt=0, description="Seconds that the job may run; default 7 days")
    restart: bool = Field(True, description="Whether all workers start again when one is lost; without, the job ends")
    boot_disk_size: int = Field(100, ge=100, le=64_000, description="GB of each worker's disk, which holds its preprocessed rows")
    boot_disk_type: Literal["pd-ssd", "pd-standard"] = Field("pd-ssd", description="Of each worker's disk")
    tpu_topology: str | None = Field(None, description='For instance "2x4", with the accelerator of the shape. Default: by the number of chips')
    reduction_server: ReductionServer | None = Field(None, description="Machines that add up the gradients; default: none")

    @property
    def job_keys(self) -> list[str]:
        """The keys given that only a CustomJob understands."""
        return sorted(self.model_fields_set - {"shape"})

    def unusable(self, *, distributable: bool) -> list[str]:
        """Return the keys given that do nothing for the task; see `TaskSettings.unusable`."""
        return [] if distributable else self.job_keys


class VertexSettings(RemoteSettings):
    """Vertex AI Pipelines in one project and region."""

    tasks: dict[str, VertexTaskSettings] = Field({}, description="By task name, as the compiled file has it")  # type: ignore[assignment]
    project: str = Field(pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$")
    region: str = Field(pattern=r"^[a-z]+-[a-z]+\d+$")
    root: str = Field(pattern=r"^gs://[^/]+", description="Artifact root")
    service_account: str = Field("", pattern=r"^$|^[^@\s]+@[^@\s]+\.gserviceaccount\.com$")
    network: str = ""
    encryption_key: str = ""
    endpoint: str = Field("", description="Only to reach something else than REGION-aiplatform.googleapis.com")
