"""The chief's log, live: through lost connections, and through the pods that follow each other when all workers start again."""

import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from urllib3.exceptions import HTTPError

from intermodal.runtime.errors import IntermodalError
from intermodal.workers.trainjob.api import Jobs

_AGAIN_SECONDS: Final = 1.0
_TIME: Final = re.compile(r"(\d+-\d+-\d+T\d+:\d+:\d+)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)")


class ChiefLog:
    """Follows the log of one pod after another; each line is said once."""

    def __init__(self, jobs: Jobs, container: str, say: Callable[[str], None]) -> None:
        """Nothing is read yet."""
        self._jobs, self._container, self._say = jobs, container, say
        self._pod, self._since = "", ""
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    def follow(self, pod: dict[str, Any]) -> None:
        """Go on with this pod; its container has started."""
        name = pod["metadata"]["name"]
        if name == self._pod:
            return
        self.end()
        self._pod, self._since, self._ended = name, "", threading.Event()
        self._thread = threading.Thread(target=self._keep, args=(self._ended,), daemon=True, name="chief-log")
        self._thread.start()

    def end(self, seconds: float = 5.0) -> None:
        """Say the rest of the log, and stop."""
        if self._thread:
            self._ended.set()
            # The answer ends with the container; a connection that hangs is left to itself.
            self._thread.join(seconds)
            self._thread = None

    def _keep(self, ended: threading.Event) -> None:
        name = self._pod
        while name == self._pod:
            last = ended.is_set()
            try:
                self._read(name, follow=not last)
            except (IntermodalError, HTTPError, OSError):
                # It is gone, or the connection is: the follower says so where it matters.
                if last:
                    return
            if last:
                return
            ended.wait(_AGAIN_SECONDS)

    def _read(self, name: str, *, follow: bool) -> None:
        answer, rest = self._jobs.log(name, self._container, since=_seconds(self._since), follow=follow), b""
        try:
            for chunk in answer.stream(2**16, decode_content=True):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._hear(name, line)
            if rest:
                self._hear(name, rest)
        finally:
            answer.release_conn()

    def _hear(self, name: str, line: bytes) -> None:
        stamp, _, text = line.decode(errors="replace").partition(" ")
        # Another pod's turn has come, or the line was said before the connection was lost: times are counted in nanoseconds.
        if name == self._pod and _comparable(stamp) > _comparable(self._since):
            self._since = stamp
            self._say(text)


def _seconds(stamp: str) -> str:
    """Return a time as the server takes it: of whole seconds, at or before that of the log."""
    return f"{_comparable(stamp)[0]}Z" if stamp else ""


def _comparable(stamp: str) -> tuple[str, str]:
    """Return a time of a log, which the node writes in its own zone, as a value that is ordered: seconds in UTC, and their fraction."""
    found = _TIME.fullmatch(stamp)
    if not found:
        return "", ""
    whole = datetime.fromisoformat(found[1] + found[3]).astimezone(UTC)
    return whole.strftime("%Y-%m-%dT%H:%M:%S"), (found[2] or "").ljust(9, "0")
