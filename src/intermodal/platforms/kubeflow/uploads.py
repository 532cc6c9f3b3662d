"""Pipelines that an installation of Kubeflow Pipelines keeps, and their versions."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from intermodal.platforms.kubeflow.client import TIMEOUT, KubeflowClient
from intermodal.platforms.kubeflow.requests import filtered
from intermodal.platforms.kubeflow.settings import KubeflowSettings
from intermodal.runtime.errors import PlatformError


class KubeflowUploads:
    """The pipelines of an installation.

    Args:
        client: The way there.
        settings: The installation's.
    """

    def __init__(self, client: KubeflowClient, settings: KubeflowSettings) -> None:
        self._client, self._settings = client, settings

    def upload(self, documents: list[dict[str, Any]], name: str, version: str) -> str:
        """Keep a compiled pipeline there as a version; the same again changes nothing.

        Args:
            documents: Of the compiled file: the specification, and the platform's if there is one.
            name: The pipeline's name.
            version: The version's.

        Returns:
            Where a browser shows it.

        Raises:
            PlatformError: The version exists with other content, or the installation refuses.
        """
        with TemporaryDirectory() as folder:
            path = Path(folder) / "pipeline.yaml"
            path.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
            pipeline = self._client.call(partial(self._pipeline_of, name, str(path)), taken=f"the pipeline {name!r}", remedy="choose another --name")
            version_of = partial(self._version_of, pipeline, name, version, str(path))
            taken = f"the version {version!r} of {name!r}"
            kept = self._client.call(version_of, taken=taken, remedy="choose another --version", until=lambda found: found is not None)
        whole = {"pipeline_spec": documents[0]} | ({"platform_spec": documents[1]} if len(documents) > 1 else {})
        if kept.pipeline_spec not in ([whole] if len(documents) > 1 else [whole, documents[0]]):
            raise PlatformError(f"{self._client.where}: the version {version!r} of {name!r} exists with other content; choose another --version")
        return f"{self._settings.page}/#/pipelines/details/{pipeline}/version/{kept.pipeline_version_id}"

    def specification(self, pipeline: str, version: str) -> dict[str, Any]:
        """Return what a version holds: a run that was started from it does not say so itself.

        Args:
            pipeline: The pipeline's id.
            version: The version's id.
        """
        ask = partial(self._client.pipelines.pipeline_service_get_pipeline_version, pipeline, version, _request_timeout=TIMEOUT)
        whole: dict[str, Any] = self._client.call(ask).pipeline_spec or {}
        return whole

    def _pipeline_of(self, name: str, path: str) -> str:
        found = self._client.pipelines.pipeline_service_list_pipelines(
            filter=filtered(display_name=name), _request_timeout=TIMEOUT, **self._namespace
        )
        if found.pipelines:
            return str(found.pipelines[0].pipeline_id)
        return str(self._client.uploads.upload_pipeline(path, name=name, display_name=name, _request_timeout=TIMEOUT, **self._namespace).pipeline_id)

    def _version_of(self, pipeline: str, name: str, version: str, path: str) -> Any:
        ask = partial(
            self._client.pipelines.pipeline_service_list_pipeline_versions, pipeline, filter=filtered(display_name=version), _request_timeout=TIMEOUT
        )
        if not ask().pipeline_versions:
            self._client.uploads.upload_pipeline_version(path, name=version, display_name=version, pipelineid=pipeline, _request_timeout=TIMEOUT)
        return next(iter(ask().pipeline_versions or []), None)  # None: what was just written is not shown yet

    @property
    def _namespace(self) -> dict[str, str]:
        return {"namespace": self._settings.namespace} if self._settings.namespace else {}
