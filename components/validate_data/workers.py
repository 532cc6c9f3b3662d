"""The streaming statistics on several cores: each process reads its share of the rows, and their accumulators are merged."""

import multiprocessing
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from intermodal.components.validate_data.statistics import Accumulator, column_types, read_blocks, row_groups
from intermodal.errors import IntermodalError, MachineError

#: Values (rows times columns) that are worth a second process; below, starting it takes longer than it saves.
_WORTHWHILE: Final = 2_000_000

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
    values = sum(rows[part] * len(column_types(paths)) for part, paths in files.items())
    processes = min(len(os.sched_getaffinity(0)), _MOST) if values >= _WORTHWHILE else 1
    first, *others = _divide(rows, blocks, processes)
    started = [_start(share, files, ignored, blocks) for share in others]
    try:
        read = [_read(first, files, ignored, blocks), *(_receive(*one) for one in started)]
    finally:
        for process, _ in started:
            process.kill()
            process.join()
    return {part: [accumulator for share in read for accumulator in share.get(part, [])] for part in files}


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


def _start(
    shares: Sequence[_Share], files: Mapping[str, Sequence[Path]], ignored: Sequence[str], blocks: Mapping[str, int]
) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    # Forked, not spawned: a new interpreter would import TFDV once more. It has one job and ends with it, whatever becomes of this process.
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sender, shares, files, ignored, blocks), daemon=True)
    process.start()
    sender.close()
    return process, receiver


def _work(
    sender: Connection, shares: Sequence[_Share], files: Mapping[str, Sequence[Path]], ignored: Sequence[str], blocks: Mapping[str, int]
) -> None:
    try:
        result: dict[str, list[Accumulator]] | IntermodalError = _read(shares, files, ignored, blocks)
    except IntermodalError as error:
        result = error
    sender.send(result)
    sender.close()


def _receive(process: multiprocessing.process.BaseProcess, receiver: Connection) -> dict[str, list[Accumulator]]:
    try:
        result: dict[str, list[Accumulator]] | IntermodalError = receiver.recv()
    except EOFError:
        process.join()
        raise MachineError(f"a process that computed statistics ended with {process.exitcode}; give the task more memory") from None
    if isinstance(result, IntermodalError):
        raise result
    return result
