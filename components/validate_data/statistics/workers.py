"""The streaming statistics on several cores: each process reads its share of the rows, and their accumulators are merged."""

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from intermodal.components.validate_data.statistics.streaming import Accumulator, column_types, read_blocks
from intermodal.runtime.datasets.parquet_files import row_groups
from intermodal.runtime.errors import IntermodalError, MachineError

Result = TypeVar("Result")

#: Values (rows times columns) that are worth a second process; below, starting it takes longer than it saves.
_WORTHWHILE: Final = 2_000_000

#: Of Linux' `prctl`: the signal to get when the parent ends.
_PR_SET_PDEATHSIG: Final = 1

#: Processes at most: each holds some 100 MB of its own, and a container's processors are often fewer than its machine's.
_MOST: Final = 4


@dataclass(frozen=True)
class _Share:
    """Consecutive runs of one part's rows, for one process to read."""

    part: str
    wanted: range


def read_parts(files: Mapping[str, Sequence[Path]], ignored: Sequence[str], blocks: Mapping[str, int]) -> dict[str, list[Accumulator]]:
    """Do what `read_blocks` does, for all parts, in as many processes as pay and as there are processors.

    Args:
        files: The Parquet files of each part.
        ignored: Columns to leave unread.
        blocks: Into how many runs of rows to divide each part.

    Raises:
        DataError: A file is not whole Parquet.
        MachineError: A process was killed, as the kernel does when memory runs out.
    """
    rows = {part: sum(sum(row_groups(file)) for file in paths) for part, paths in files.items()}
    processes = worthwhile(sum(rows[part] * len(column_types(paths)) for part, paths in files.items()))
    first, *others = _divide(rows, blocks, processes)
    waiting = [fork(partial(_read, shares, files, ignored, blocks)) for shares in others]
    read = [_read(first, files, ignored, blocks), *(wait() for wait in waiting)]
    return {part: [accumulator for share in read for accumulator in share.get(part, [])] for part in files}


def worthwhile(values: int) -> int:
    """Return how many processes pay for statistics of so many values, rows times columns."""
    return min(len(os.sched_getaffinity(0)), _MOST) if values >= _WORTHWHILE else 1


def _divide(rows: Mapping[str, int], blocks: Mapping[str, int], processes: int) -> list[list[_Share]]:
    """Divide all runs, in order, into one list for each process, with about as many rows in each."""
    total, before = max(sum(rows.values()), 1), 0.0
    taken: list[dict[str, list[int]]] = [{} for _ in range(processes)]
    for part, count in rows.items():
        for block in range(blocks[part]):
            size = count / blocks[part]
            taken[int((before + size / 2) * processes / total) if size else 0].setdefault(part, []).append(block)
            before += size
    return [[_Share(part, range(found[0], found[-1] + 1)) for part, found in one.items()] for one in taken]


def _read(
    shares: Sequence[_Share], files: Mapping[str, Sequence[Path]], ignored: Sequence[str], blocks: Mapping[str, int]
) -> dict[str, list[Accumulator]]:
    return {share.part: read_blocks(files[share.part], ignored, blocks[share.part], share.wanted) for share in shares}


def fork(task: Callable[[], Result]) -> Callable[[], Result]:
    """Start a task in a process of its own, and return what waits for its result.

    The process is forked, not spawned: a new interpreter would import TFDV once more. It ends with its task, and with this process however
    that ends.

    Raises:
        IntermodalError: At the wait, what the task raised.
        MachineError: At the wait, when the process was killed, as the kernel does when memory runs out.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sender, task), daemon=True)
    process.start()
    sender.close()

    def wait() -> Result:
        try:
            result = receiver.recv()
        except EOFError:
            process.join()
            raise MachineError(f"a process that computed statistics ended with {process.exitcode}; give the task more memory") from None
        process.join()
        if isinstance(result, IntermodalError):
            raise result
        return cast(Result, result)

    return wait


def _work(sender: Connection, task: Callable[[], Any]) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        result = task()
    except IntermodalError as error:
        result = error
    sender.send(result)
    sender.close()
