"""Vertex AI's table in `targets.toml`."""

from pydantic import Field

from intermodal.configuration.targets import RemoteSettings


class VertexSettings(RemoteSettings):
    """Vertex AI Pipelines in one project and region."""

    project: str = Field(pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$")
    region: str = Field(pattern=r"^[a-z]+-[a-z]+\d+$")
    root: str = Field(pattern=r"^gs://[^/]+", description="Artifact root")
    service_account: str = Field("", pattern=r"^$|^[^@\s]+@[^@\s]+\.gserviceaccount\.com$")
    network: str = ""
    encryption_key: str = ""
    endpoint: str = Field("", description="Only to reach something else than REGION-aiplatform.googleapis.com")
