"""What workers say: lines of a log, and the last words of a process that failed."""

import re
import sys
from collections import deque
from collections.abc import Iterable
from typing import Final

from intermodal.runtime.errors import BlockedError, ConfigurationError, DataError

_LINES: Final = 30
#: How a traceback ends: the error's name, with its module or without, and its text.
_ERROR: Final = re.compile(r"(?:[A-Za-z_]\w*\.)*([A-Z]\w*(?:Error|Exception|Interrupt|Exit)|Cancelled)(?:: (.*))?")
#: Errors that the same input meets again.
_LASTING: Final = frozenset(each.__name__ for each in (BlockedError, ConfigurationError, DataError))


class LastWords:
    """The end of an output that is read line by line."""

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self._lines: deque[str] = deque(maxlen=_LINES)
        for line in lines:
            self.hear(line)

    def hear(self, line: str) -> None:
        """Take the next line."""
        if line.strip():
            self._lines.append(line.rstrip())

    @property
    def text(self) -> str:
        """The last lines."""
        return "\n".join(self._lines)

    @property
    def error(self) -> str:
        """The last line that names an error; empty where none does."""
        found = self._error()
        return found.group(0) if found else ""

    @property
    def sentence(self) -> str:
        """The last line that names an error, or else the last line; empty where nothing was said."""
        return self.error or (self._lines[-1] if self._lines else "")

    @property
    def lasting(self) -> bool:
        """Whether the error is one that another attempt meets again: wrong data, a wrong setting."""
        found = self._error()
        return bool(found and found[1] in _LASTING)

    def _error(self) -> re.Match[str] | None:
        return next((found for line in reversed(self._lines) if (found := _ERROR.fullmatch(line))), None)


def say(text: str) -> None:
    """Write a line to the log, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
