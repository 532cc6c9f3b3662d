"""Every error the project raises on purpose. Each message names the value, where it is, and the remedy; none shows a password."""

import difflib
from collections.abc import Iterable

from intermodal.runtime.redaction import redacted


class IntermodalError(Exception):
    """Base of all errors raised on purpose; anything else that escapes is a defect. Texts are redacted, as they often quote a library's."""

    def __init__(self, *details: object) -> None:
        super().__init__(*(redacted(each) if isinstance(each, str) else each for each in details))


class ConfigurationError(IntermodalError):
    """A configuration file or a parameter is wrong."""


class DataError(IntermodalError):
    """The data a component was given cannot be used as asked."""


class BlockedError(IntermodalError):
    """The data was read and judged, and the verdict is to go no further."""


class StoreError(IntermodalError):
    """A store that outlives the run (registry, online store, deployments) cannot be reached or refused a request."""


class DeploymentError(IntermodalError):
    """A model could not be brought to serve; whatever served before still does."""


class MachineError(IntermodalError):
    """This machine lacks something that a task needs."""


class PlatformError(IntermodalError):
    """A platform (Kubeflow, Vertex AI, an object store) refused a request or did not answer; the message says whether anything was left behind."""


class DeniedError(PlatformError):
    """A platform does not take the credentials (401), or they may not do this (403): asking again does not help."""


class TaskError(IntermodalError):
    """A task of a run failed.

    Attributes:
        task: Its name.
        sentence: The last error in its log.
        log: The path of its log.
        status: Its exit status; 128 plus the signal that killed it; 1 where it did not start.
    """

    def __init__(self, task: str, sentence: str, log: str, status: int = 1) -> None:
        super().__init__(f"{task}: {sentence}\nIts log: {log}")
        self.task = task
        self.sentence = redacted(sentence)
        self.log = log
        self.status = status


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the half sentence that leads from a wrong name to a right one: the nearest, or all there are."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(names) or 'none'}"
