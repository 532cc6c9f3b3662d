"""Cancellation of a task: SIGTERM as an exception, so that what was begun is undone."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import NoReturn

from intermodal.runtime.errors import DeploymentError


class Cancelled(BaseException):
    """The task was asked to end; the text says what was undone. Not an `Exception`: nobody on the way may take it for an error and go on."""


@contextlib.contextmanager
def cancellable() -> Iterator[None]:
    """Raise `Cancelled` in the block at the first SIGTERM; later ones are ignored, so that the clean-up is not cut short.

    Outside the main thread, where Python takes no signals, nothing changes.

    Raises:
        DeploymentError: What became of `Cancelled`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Cancelled

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except Cancelled as error:
        raise DeploymentError(f"the task was asked to end (SIGTERM). {error}") from error
    finally:
        signal.signal(signal.SIGTERM, before)
