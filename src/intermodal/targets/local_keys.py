"""Keys of runs on this machine: the same key twice is one run, whoever starts the second, and whenever."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path


@contextmanager
def claimed(home: Path, key: str) -> Iterator[tuple[str, bool]]:
    """Hold a key while its run goes on; another process that wants it waits.

    Args:
        home: The local target's folder.
        key: As `remote.submission_key` returns it: no dot is in it.

    Yields:
        The run's id, and whether that run has ended already, well or not. A run that was stopped or killed has not: its successor has
        the key's next id, and takes from the cache what is finished.
    """
    folder = home / "keys"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{key}.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        for attempt in count(1):
            identity = f"key-{key}.{attempt}"
            run = home / "runs" / identity
            if (run / "run.json").exists() or not run.exists():
                yield identity, run.exists()
                return
