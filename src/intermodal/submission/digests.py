"""The digest file: the digest of each image that a build pushed."""

import json
import re
from pathlib import Path

from intermodal.authoring.images import GPU_IMAGES, IMAGES
from intermodal.runtime.errors import ConfigurationError
from intermodal.runtime.safe_yaml import read_text

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def read_digests(path: Path) -> dict[str, str]:
    """Read a digest file: a JSON object of image name to ``sha256:…``; ``train-gpu`` is the variant with CUDA.

    Raises:
        ConfigurationError: The file is missing or not such an object, names an unknown image, or leaves one out: a release that
            references some images by tag is not reproducible.
    """
    text = read_text(path, "the build writes it; without --digests images are referenced by tag")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:  # RecursionError: nested thousands of levels deep
        raise ConfigurationError(f"{path}: not JSON ({error})") from error
    if not isinstance(values, dict):
        raise ConfigurationError(f'{path}: expected an object such as {{"train": "sha256:…"}}, found {type(values).__name__}')
    if unknown := sorted(set(values) - set(IMAGES) - {f"{image}-gpu" for image in GPU_IMAGES}):
        raise ConfigurationError(f"{path}: there is no image {unknown[0]!r}; the images are {', '.join(IMAGES)}")
    if missing := sorted(set(IMAGES) - set(values)):
        raise ConfigurationError(f"{path}: no digest for the image {missing[0]!r}; a release names every image by digest")
    for image, digest in values.items():
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise ConfigurationError(f"{path}: {image}: expected sha256: and 64 hexadecimal digits, not {digest!r}")
    return values
