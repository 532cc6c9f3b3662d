"""What code a task runs, as whatever started it says in the environment; a task cannot find it out itself."""

from collections.abc import Mapping
from typing import Final

#: The commit that the package's source is of; an image has it from its build (`REVISION` of the Dockerfile), a task of this machine from the runner.
COMMIT_VARIABLE: Final = "INTERMODAL_COMMIT"
#: The image, with its digest; set where that is known when the pipeline is compiled, and by the runner.
IMAGE_VARIABLE: Final = "INTERMODAL_IMAGE"
UNKNOWN: Final = "unknown"


def code_of(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `commit` and `image`, each `unknown` where nothing says it.

    A commit ends in `-dirty` where files differed from it. An image that was named by a tag is unknown: a tag may be moved.

    Args:
        environment: For instance `os.environ`.
    """
    return {"commit": environment.get(COMMIT_VARIABLE) or UNKNOWN, "image": environment.get(IMAGE_VARIABLE) or UNKNOWN}
