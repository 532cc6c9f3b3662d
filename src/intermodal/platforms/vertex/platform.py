"""Vertex AI Pipelines as an entry of `intermodal.platforms`."""

from typing import Any

from intermodal.authoring.platform import Platform
from intermodal.platforms.vertex.jobs import distribute
from intermodal.platforms.vertex.resources import resources
from intermodal.platforms.vertex.serving import deploy_on_vertex
from intermodal.platforms.vertex.settings import VertexSettings
from intermodal.runtime.errors import MachineError


def _open(settings: VertexSettings) -> Any:
    try:
        from intermodal.platforms.vertex.target import VertexTarget
    except ModuleNotFoundError as error:
        raise MachineError(f"the client of Vertex AI is not installed ({error.name}): pip install 'intermodal[vertex]'") from error
    return VertexTarget(settings)


_PLACEHOLDERS = (
    *("pipeline_google_cloud_location", "pipeline_google_cloud_project_id", "pipeline_service_account", "pipeline_network"),
    *("pipeline_encryption_key_name", "pipeline_persistent_resource_id"),
)
platform = Platform(
    "vertex",
    VertexSettings,
    _open,
    deploy=deploy_on_vertex,
    resources=resources,
    distribute=distribute,
    fixed=("workers",),
    placeholders=_PLACEHOLDERS,
    rules="intermodal.platforms.vertex.rules",
)
