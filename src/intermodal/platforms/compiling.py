"""A pipeline compiled for a platform: images from its registry, and the shapes, retries and options that its settings give tasks."""

from dataclasses import dataclass, field
from typing import Any

from intermodal.authoring.catalog import component_names, load_component
from intermodal.authoring.images import GPU_IMAGES, image_of, image_reference
from intermodal.authoring.pipeline import Job
from intermodal.authoring.platform import find_platform
from intermodal.compiler.build import compile_specification, name_images, set_images
from intermodal.compiler.resources import apply_retries, container_of, wants_gpu
from intermodal.compiler.specification import Specification, apply_cache_policy, distributable, graphs, searching, separate
from intermodal.configuration.targets import RemoteSettings, Shape, TaskSettings
from intermodal.runtime.errors import ConfigurationError


@dataclass(frozen=True)
class ClusterTarget:
    """What a pipeline is compiled for: a platform, with the settings of a profile or without.

    Attributes:
        name: What the command line and the folder below `compiled/` call it.
        image_repository: Registry and path the images lie in.
        settings: The target's of a profile: shapes and options of each task, retries, labels. None: none of these.
        shapes: Shapes by name.
        digests: Image name to `sha256:` digest; images without one go by tag.
    """

    name: str
    image_repository: str = ""
    settings: RemoteSettings | None = None
    shapes: dict[str, Shape] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)

    def compile(self, job: Job) -> dict[str, Any]:
        """Return a pipeline's specification for this platform.

        Args:
            job: The pipeline and its configuration, whose values become the parameters' defaults, but for those that name files of this machine.

        Raises:
            ConfigurationError: The settings name a task, a shape or an accelerator that is not there, or a machine that the platform does not have.
        """
        return self._made_for(compile_specification(job.wire(self.name), job.defaults(self.name)))

    def compile_component(self, name: str) -> dict[str, Any]:
        """Return a single component's specification for this platform: several workers of it run on machines of their own.

        Raises:
            ConfigurationError: There is no such component; see `compile` for the settings.
        """
        return self._made_for(compile_specification(load_component(name)))

    def _made_for(self, specification: Specification) -> Specification:
        apply_cache_policy(specification)
        set_images(specification, repository=self.image_repository, digests=self.digests)
        shared = distributable(specification)
        spread = [name for graph in graphs(specification) for name, each in graph["tasks"].items() if each["componentRef"]["name"] in shared]
        for task in spread:
            separate(specification, task)  # what one task's workers need is not another's
        if self.settings:
            for task, settings in self._tasks(specification).items():
                if unusable := settings.unusable(distributable=task in spread):
                    container_of(specification, task)  # says where there is no such task
                    raise ConfigurationError(
                        f"tasks.{task}: {', '.join(unusable)}: only a task of a component with a parameter `workers` has "
                        f"{'it' if len(unusable) == 1 else 'them'} on {self.name}; remove {'it' if len(unusable) == 1 else 'them'} from targets.toml"
                    )
                if settings.shape:
                    shape = self.shapes[settings.shape]
                    container_of(specification, task)["resources"] = self._resources(settings.shape, shape)
                    if wants_gpu(shape):
                        self._use_gpu_image(specification, task)
            apply_retries(specification, self.settings.retries)
        name_images(specification)
        if distribute := find_platform(self.name).distribute:
            for component in distributable(specification):
                distribute(specification, component, self.settings)
        if tune := find_platform(self.name).tune:
            for component in searching(specification):
                tune(specification, component, self.settings)
        return specification

    def _resources(self, name: str, shape: Shape) -> dict[str, Any]:
        resources = find_platform(self.name).resources
        if resources is None:
            raise ConfigurationError(f"shapes.{name}: the platform {self.name!r} takes no shapes; remove `shape` from its tasks in targets.toml")
        return resources(name, shape)

    def _tasks(self, specification: Specification) -> dict[str, TaskSettings]:
        """Return the settings of tasks; a profile serves every pipeline, so those of components of ours that are not in this one are left out."""
        ours = {name.replace("_", "-") for name in component_names()}
        present = {name for graph in graphs(specification) for name in graph["tasks"]}
        return {name: each for name, each in (self.settings.tasks if self.settings else {}).items() if name in present or name not in ours}

    def _use_gpu_image(self, specification: Specification, task: str) -> None:
        container = container_of(specification, task)
        image = image_of(container["image"])
        if image in GPU_IMAGES:
            digest = self.digests.get(f"{image}-gpu")
            if self.digests and not digest:
                raise ConfigurationError(f"tasks.{task} wants a GPU, and the digest file has no {image}-gpu; build and push that image too")
            container["image"] = image_reference(image, repository=self.image_repository, digest=digest, gpu=True)

    def platform_document(self, specification: Specification) -> dict[str, Any]:
        """Return the second document of a compiled file; empty where the platform has none, or the settings ask for nothing."""
        if self.settings is None:
            return {}
        return find_platform(self.name).document(specification, self._tasks(specification), self.shapes, self.settings.labels)
