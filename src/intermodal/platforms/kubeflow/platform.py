"""Kubeflow Pipelines as an entry of `intermodal.platforms`."""

from typing import Any

from intermodal.authoring.images import image_reference
from intermodal.authoring.platform import Platform
from intermodal.components.deploy_kserve.component import deploy_kserve
from intermodal.platforms.kubeflow.options import platform_document
from intermodal.platforms.kubeflow.resources import resources
from intermodal.platforms.kubeflow.settings import KubeflowSettings
from intermodal.platforms.kubeflow.workers import distribute, tune


def _known(settings: KubeflowSettings, digests: dict[str, str]) -> dict[str, Any]:
    predictor = image_reference("serve", repository=settings.image_repository, digest=digests.get("serve"))
    namespace = {"serving.kubeflow.namespace": settings.namespace} if settings.namespace else {}
    return {"serving.kubeflow.image": predictor, **namespace}


def _open(settings: KubeflowSettings) -> Any:
    from intermodal.platforms.kubeflow.target import KubeflowTarget

    return KubeflowTarget(settings)


platform = Platform(
    "kubeflow",
    KubeflowSettings,
    _open,
    deploy=deploy_kserve,
    known=_known,
    resources=resources,
    document=platform_document,
    distribute=distribute,
    tune=tune,
    rules="intermodal.platforms.kubeflow.rules",
    uploads=True,
)
