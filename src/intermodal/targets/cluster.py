"""The platforms a pipeline is compiled for: what differs between them, and nothing else."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from intermodal.components.deploy_model.component import deploy_model
from intermodal.pipelines.training import training_pipeline
from intermodal.targets.compilation import compile_specification, set_images
from intermodal.targets.specification import apply_cache_policy


@dataclass(frozen=True)
class ClusterTarget:
    """A platform that takes compiled pipelines.

    Attributes:
        name: What the command line and the folder below `compiled/` call it.
        deploy: The component that brings a passed model to serve there; None: the pipeline ends with the registered model.
        image_repository: Registry and path the images lie in.
        digests: Image name to `sha256:` digest; images without one go by tag.
    """

    name: str
    deploy: Callable[..., Any] | None
    image_repository: str = ""
    digests: dict[str, str] = field(default_factory=dict)

    def compile(self, defaults: dict[str, Any]) -> dict[str, Any]:
        """Return the training pipeline's specification for this platform.

        Args:
            defaults: Pipeline parameters that get a default; the others must be given at submission.
        """
        specification = compile_specification(training_pipeline(self.deploy), defaults)
        apply_cache_policy(specification)
        set_images(specification, repository=self.image_repository, digests=self.digests)
        return specification


#: Platforms by name. Deployment on Vertex AI comes with submission: its pipeline ends with the registered model.
CLUSTER_TARGETS = {
    "kubeflow": ClusterTarget("kubeflow", deploy=deploy_model),
    "vertex": ClusterTarget("vertex", deploy=None),
}
