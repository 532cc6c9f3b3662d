"""Memory of a step: how much one will take, what to say when it was too much, and which batch fits.

Both answers are measured with the model itself: steps with fewer rows, in this process, beside all that it holds.
"""

import math
import os
import resource
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

#: Makes the forward and backward pass of so many rows on this worker's devices alone, and changes nothing.
Attempt = Callable[[int], None]

#: What frameworks say when an allocation fails; RESOURCE_EXHAUSTED is also a message that is too large.
_SAYINGS: Final = ("oom when allocating", "out of memory", "failed to allocate", "unable to allocate", "cannot allocate memory", "bad_alloc")
#: Share of the free memory that a step may take without a word: batches to come, checkpoints and other processes need some too.
_USABLE: Final = 0.8
#: Share of what a trial showed to fit that is named: training holds more than a trial, by what it writes and reads meanwhile.
_MARGIN: Final = 0.9
#: From how much more than the free memory on a step is refused: the forecast is of 5 % or so.
_REFUSED: Final = 1.1
#: Bytes by which the memory must grow from one trial to the next for it to be a measurement.
_MEASURABLE: Final = 64 << 20
_FIRST_ROWS: Final = 256
_FLOAT: Final = 4
#: Copies of each activation: it, its gradient, and what operations hold meanwhile.
_COPIES: Final = 4


@dataclass(frozen=True)
class Forecast:
    """What a step will take, from trials with fewer rows.

    Attributes:
        needed: Bytes beside what this process holds.
        free: Bytes that the kernel will give this process.
        each_row: Bytes.
        rows: Rows that would take `_USABLE` of the free memory.
        tried: Rows of the largest trial.
    """

    needed: float
    free: int
    each_row: float
    rows: int
    tried: int

    @property
    def refused(self) -> bool:
        """Whether a step will certainly take more than there is."""
        return self.needed > _REFUSED * self.free

    @property
    def close(self) -> bool:
        """Whether a step may take more than there is."""
        return self.needed > _USABLE * self.free


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error is of memory that could not be had: Python's, TensorFlow's, XLA's."""
    return isinstance(error, MemoryError) or any(each in str(error).lower() for each in _SAYINGS)


def rows_that_fit(attempt: Attempt, failed: int) -> int:
    """Return rows of a step that fit, found by trials: half as many each time, then twice halfway between what fits and what does not; 0: none.

    Args:
        attempt: Raises what `is_out_of_memory` knows when the rows do not fit.
        failed: Rows that did not fit.
    """
    fits, fails = failed // 2, failed
    while fits and not _fit(attempt, fits):
        fits, fails = fits // 2, fits
    for _ in range(2):
        middle = (fits + fails) // 2
        if fits < middle < fails:
            fits, fails = (middle, fails) if _fit(attempt, middle) else (fits, middle)
    return _round(fits * _MARGIN) if fits > 1 else fits


def forget(error: BaseException) -> None:
    """Let go of what the frames of an error hold: the rows of the step that failed."""
    while error:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__  # type: ignore[assignment]


def forecast(attempt: Attempt, rows: int, sharing: int, known: int | None, width: int) -> Forecast | None:
    """Return what a step will take of this process's memory; None where it is too little to look, or is another memory (a GPU's).

    Steps of ever more rows are made, up to a quarter of `rows`, until the process's largest memory grows measurably with them.

    Args:
        attempt: See `Attempt`.
        rows: Rows of a step of this worker.
        sharing: Workers that share this machine's memory.
        known: Numbers that the model computes from a row; None: not known.
        width: Features of a row.
    """
    free = free_memory() // sharing
    if known is not None and rows * (known + width) * _FLOAT * _COPIES < free / 4:
        return None
    tried, peaks = max(1, min(_FIRST_ROWS, rows // 16)), []
    while tried <= max(1, rows // 4):
        with _largest() as largest:
            attempt(tried)
        peaks.append((tried, largest()))
        grown = peaks[-1][1] - peaks[0][1]
        if grown > _MEASURABLE:
            each = grown / (tried - peaks[0][0])
            before = peaks[0][1] - each * peaks[0][0] - resident()
            needed = max(0.0, before) + each * rows
            return Forecast(needed, free, each, _round((_USABLE * free - max(0.0, before)) / each), tried)
        tried *= 4
    return None


def free_memory() -> int:
    """Return how many bytes the kernel will give this process: what its limit, its cgroup or the machine leaves, the least of these."""
    free = []
    about = dict(line.split(":") for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines())
    free.append(sum(int(about[name].split()[0]) for name in ("MemAvailable", "SwapFree")) << 10)
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY:
            free.append(limit - (_status("VmSize") if kind == resource.RLIMIT_AS else _status("VmData")))
    free += _free_in_cgroups()
    return max(0, min(free))


def resident() -> int:
    """Return the bytes of this process that are in memory."""
    return _status("VmRSS")


def activations(model: Any) -> int | None:
    """Return how many numbers a Keras model's layers compute from a row; None where that is not known before it runs."""
    total: int = 0
    for layer in model._flatten_layers(include_self=False):
        try:
            shapes = [each.shape for output in layer._inbound_nodes for each in output.output_tensors]
        except AttributeError:
            return None
        if not shapes or any(size is None for shape in shapes for size in shape[1:]):
            return None
        total += sum(int(math.prod(shape[1:])) for shape in shapes)
    return total


def _fit(attempt: Attempt, rows: int) -> bool:
    try:
        attempt(rows)
    except Exception as error:  # each framework has types of its own
        if not is_out_of_memory(error):
            raise
        forget(error)
        return False
    return True


def _round(rows: float) -> int:
    """Return a number with its third digit and those after it as zeros."""
    whole = max(0, math.floor(rows))
    unit = int(10 ** max(0, len(str(whole)) - 2))
    return whole // unit * unit


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    return 0


@contextmanager
def _largest() -> Iterator[Callable[[], int]]:
    """Give what returns the most bytes that were in memory within the block."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # VmHWM counts anew
    except OSError:
        done, most = threading.Event(), [resident()]

        def look() -> None:
            while not done.is_set():
                most[0] = max(most[0], resident())
                time.sleep(0.001)

        looking = threading.Thread(target=look, name="memory", daemon=True)
        looking.start()
        try:
            yield lambda: most[0]
        finally:
            done.set()
            looking.join()
        return
    yield lambda: _status("VmHWM")


def _free_in_cgroups() -> list[int]:
    """Return what the memory limits of this process's cgroups leave, of version 1 and 2; what is cached of files counts as free."""
    found = []
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        root, limit, used, cached = (
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            if "memory" in controllers.split(",")
            else ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file")
        )
        if controllers and "memory" not in controllers.split(","):
            continue
        # Within a container the path may be the host's: its own cgroup is then the root.
        place = Path(root, path.strip("/")) if Path(root, path.strip("/"), limit).exists() else Path(root)
        for each in (place, *place.parents):
            if not each.is_relative_to(root):
                break
            try:
                text = (each / limit).read_text(encoding="ascii").strip()
                if text.isdigit() and int(text) < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
                    about = dict(one.split() for one in (each / "memory.stat").read_text(encoding="ascii").splitlines())
                    found.append(int(text) - int((each / used).read_text(encoding="ascii")) + int(about.get(cached, 0)))
            except (OSError, ValueError):
                continue
    return found
