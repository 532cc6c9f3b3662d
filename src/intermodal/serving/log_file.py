"""The log of a server that runs for months: rotated, with all that the process prints, libraries in C included."""

import logging
import os
from logging.handlers import RotatingFileHandler
from pathlib import Path

LARGEST = 10 * 10**6
KEPT = 2


class _RotatingLog(RotatingFileHandler):
    """Rotates, and has standard output and error follow."""

    def doRollover(self) -> None:  # noqa: N802
        """Begin a new file."""
        super().doRollover()
        self.redirect()

    def redirect(self) -> None:
        """Point standard output and error at the present file."""
        assert self.stream  # open from the start, as `delay` is not asked for
        for descriptor in (1, 2):
            os.dup2(self.stream.fileno(), descriptor)


def log_to(path: Path, largest: int = LARGEST, kept: int = KEPT) -> None:
    """Send every logger's lines, and standard output and error, to a file.

    Args:
        path: The file; it is appended to.
        largest: Bytes at which a new file is begun and this one becomes `<name>.1`.
        kept: How many old files stay.
    """
    handler = _RotatingLog(path, maxBytes=largest, backupCount=kept, encoding="utf-8", errors="replace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in ("", *logging.root.manager.loggerDict):
        found = logging.getLogger(name)
        if name == "" or found.handlers:  # KServe and uvicorn have handlers of their own
            found.handlers = [handler]
            found.propagate = False
    handler.redirect()
