"""The display of a run on this machine: one line for each task, live on a terminal and plain elsewhere."""

import os
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from intermodal.training.progress import last_progress

_BAR = 20
#: Bytes of a log's end in which progress is looked for.
_TAIL = 4096
_MARKS = {
    "running": ("●", "cyan"),
    "done": ("✓", "green"),
    "cached": ("✓", "dim green"),
    "failed": ("✗", "red"),
    "cancelled": ("✗", "yellow"),
    "skipped": ("·", "dim"),
}


class Progress:
    """The display of one run; tasks may start and end in any thread.

    Args:
        console: Where it is shown.
        names: Names of all tasks, for the width of their column.
    """

    def __init__(self, console: Console, names: list[str]) -> None:
        self._console = console
        self._width = max(20, min(max(map(len, names), default=0) + 3, console.width - 24))
        self._lock = threading.Lock()
        self._running: dict[str, tuple[float, Path | None]] = {}
        self._live = Live(self, console=console, refresh_per_second=8, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def started(self, name: str, log: Path | None = None) -> None:
        """Show that a task has begun; where its log is here, and says how far a training is, that too."""
        with self._lock:
            self._running[name] = time.monotonic(), log

    def finished(self, name: str, state: str, seconds: float, note: str = "") -> None:
        """Show that a task has ended."""
        with self._lock:
            self._running.pop(name, None)
        if state == "stopped":
            return  # the run says so once
        self._console.print(self._line(name, state, seconds), soft_wrap=True)
        if note:
            self._console.print(Text(f"    {note}", "dim"), soft_wrap=True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        with self._lock:
            running = list(self._running.items())
        for name, (since, log) in running:
            yield self._line(name, "running", time.monotonic() - since)
            if log and (found := last_progress(_tail(log))):
                share, words = found
                row = Table.grid(padding=(0, 1, 0, 0))
                row.add_row(Text("   "), ProgressBar(1.0, share, width=_BAR), Text(words, "dim", no_wrap=True, overflow="ellipsis"))
                yield row

    def _line(self, name: str, state: str, seconds: float) -> Text:
        mark, style = _MARKS[state]
        column = name if len(name) <= self._width else f"{name[: self._width - 1]}…"
        time_taken = "   cached" if state == "cached" else f"{seconds:7.1f} s"
        word = f"  {state}" if state in ("failed", "cancelled", "skipped") else ""
        bold = "bold" if state == "running" else ("dim" if state == "cached" else "")
        return Text.assemble((f"  {mark} ", style), f"{column:{self._width}}", (time_taken, bold), (word, style))


def _tail(log: Path) -> str:
    """Return the end of a task's log; empty where there is none yet."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
