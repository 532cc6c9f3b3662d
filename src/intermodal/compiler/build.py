"""Compilation: from a pipeline function to its specification, and to a file."""

import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import yaml

from intermodal.authoring.images import image_of, image_reference
from intermodal.runtime.artifacts import whole_file
from intermodal.runtime.provenance import IMAGE_VARIABLE


def compile_specification(pipeline: Any, defaults: dict[str, Any] | None = None) -> dict[str, Any]:
    """Compile a pipeline or a component.

    Args:
        pipeline: What `dsl.pipeline` or `component` made.
        defaults: Parameters that get a default value. Default: only its own.

    Returns:
        The pipeline specification (IR), as kfp writes it.
    """
    from kfp import compiler  # takes a second to import; not needed to run a compiled file

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = os.path.join(folder, "pipeline.yaml")  # noqa: PTH118
        compiler.Compiler().compile(pipeline, path, pipeline_parameters=defaults or None)
        specification: dict[str, Any] = yaml.load(Path(path).read_bytes(), yaml.CSafeLoader)  # ten times as fast as safe_load
    return specification


def set_images(specification: dict[str, Any], *, repository: str = "", digests: dict[str, str] | None = None) -> None:
    """Point a specification's tasks at the images of a registry, in place; images of others stay.

    Args:
        specification: The pipeline specification.
        repository: Registry and path, for instance ``europe-docker.pkg.dev/my-project/ml``.
        digests: Image name to ``sha256:...``; images without one keep their tag.
    """
    for executor in specification["deploymentSpec"]["executors"].values():
        # A managed service's container is described in the metadata of an imported model.
        served = executor.get("importer", {}).get("metadata", {}).get("containerSpec", {})
        for container, key in ((executor.get("container", {}), "image"), (served, "imageUri")):
            if image := image_of(container.get(key, "")):
                container[key] = image_reference(image, repository=repository, digest=(digests or {}).get(image))


def name_images(specification: dict[str, Any]) -> None:
    """Tell each task of an image of ours, in its environment, which image it runs in, where the reference has a digest; in place."""
    for executor in specification["deploymentSpec"]["executors"].values():
        container = executor.get("container", {})
        reference = container.get("image", "")
        if image_of(reference) and "@sha256:" in reference:
            others = [each for each in container.get("env", []) if each["name"] != IMAGE_VARIABLE]
            container["env"] = [*others, {"name": IMAGE_VARIABLE, "value": reference}]


def write_specification(specification: dict[str, Any], path: Path, platform: dict[str, Any] | None = None) -> None:
    """Write a compiled file, whole or not at all; equal specifications give equal bytes.

    Args:
        specification: The first document.
        path: The file.
        platform: The second document, the platform's own. Default: none.
    """
    documents = [specification, platform] if platform else [specification]
    with whole_file(path) as scratch:
        scratch.write_text(yaml.safe_dump_all(documents, sort_keys=True, width=120), encoding="utf-8")
