"""Image references: the one place that says which image a component runs in and what it is called."""

from typing import Final

from intermodal import __version__

#: The images, each named after the dependency group of ``uv.lock`` it holds.
IMAGES: Final = {
    "data": "tables and features: PyArrow, DuckDB, Feast",
    "validate": "data validation: TensorFlow Data Validation, Apache Beam",
    "train": "training and evaluation: TensorFlow, Keras",
    "track": "model registry and reports: MLflow, Jinja",
    "serve": "serving: KServe, TensorFlow",
}

#: The images that exist with CUDA too, under the same name and a tag that ends in ``-gpu``.
GPU_IMAGES: Final = frozenset({"train"})

_PREFIX: Final = "intermodal-"


def image_reference(image: str, *, repository: str = "", tag: str = __version__, digest: str | None = None, gpu: bool = False) -> str:
    """Return the reference of one of the project's images.

    Args:
        image: A key of `IMAGES`.
        repository: Registry and path to put before the name, for instance ``europe-docker.pkg.dev/my-project/ml``. Default: none.
        tag: The tag. Default: the package's version, never ``latest``, which Kubernetes would pull at every start.
        digest: ``sha256:…``, in the tag's place. Default: by tag.
        gpu: Whether the variant with CUDA is meant.

    Returns:
        For instance ``intermodal-train:0.1.0``.

    Raises:
        ValueError: There is no such image.
    """
    if image not in IMAGES:
        raise ValueError(f"there is no image {image!r}; the images are {', '.join(IMAGES)}")
    name = f"{_PREFIX}{image}" + (f"@{digest}" if digest else f":{tag}{'-gpu' if gpu else ''}")
    return f"{repository.rstrip('/')}/{name}" if repository else name


def image_of(reference: str) -> str | None:
    """Return which of `IMAGES` a reference names, whatever its registry, tag or digest, or None for anybody else's image."""
    name = reference.rsplit("/", 1)[-1].partition("@")[0].partition(":")[0]
    image = name.removeprefix(_PREFIX)
    return image if name.startswith(_PREFIX) and image in IMAGES else None
