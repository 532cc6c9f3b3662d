"""Where the checkpoints of a training are."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from intermodal.training import CHECKPOINTS_VARIABLE
from intermodal.training.checkpoints.keeping import Checkpoints
from intermodal.training.cluster import Cluster


@contextmanager
def open_checkpoints(
    where: str, training: Path, keep: int, identity: Mapping[str, Any], may_differ: Mapping[str, Any], cluster: Cluster
) -> Iterator[Checkpoints | None]:
    """Give the chief its checkpoints; None on the other workers. A folder that nobody named is removed when the block ends well.

    Args:
        where: A folder or a place in an object store. Default: `INTERMODAL_CHECKPOINTS`, then a folder beside `training`.
        training: The artifact of that name.
        keep: How many to keep.
        identity: See `Checkpoints`.
        may_differ: See `Checkpoints`.
        cluster: Which worker this is.
    """
    if not cluster.chief:
        yield None
        return
    named = where or os.environ.get(CHECKPOINTS_VARIABLE, "")
    folder = training.with_name(f".{training.name}.checkpoints")
    try:
        with Checkpoints(named or str(folder), keep, identity, may_differ) as checkpoints:
            yield checkpoints
    finally:
        if not named:
            with suppress(OSError):
                folder.rmdir()  # where nothing was written
    if not named:
        shutil.rmtree(folder, ignore_errors=True)


def lasting_folder(named: str, output: Path, kind: str) -> tuple[Path, bool]:
    """Return a folder that outlives an attempt of a task, and whether it stays when the task ends well.

    Args:
        named: A folder that the user named. Default: `INTERMODAL_CHECKPOINTS`, if it is a folder, then one beside the output.
        output: An output of the task.
        kind: What is kept there; part of the folder's name.
    """
    if named:
        return Path(named), True
    launcher = os.environ.get(CHECKPOINTS_VARIABLE, "")
    return (Path(launcher, kind) if launcher and "://" not in launcher else output.with_name(f".{output.name}.{kind}")), False
