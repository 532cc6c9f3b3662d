"""Keys of runs on this machine: the same key twice is one run, whoever starts the second, and whenever."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from intermodal.runtime.errors import ConfigurationError


@contextmanager
def claimed(home: Path, key: str, content: str) -> Iterator[tuple[str, bool]]:
    """Lock a key while its run goes on; another process that wants it waits.

    Args:
        home: The local target's folder.
        key: As `interface.submission_key` returns it: no dot is in it.
        content: A hash of what is run.

    Yields:
        The run's id, and whether that run has ended already, well or not. A run that was stopped or killed has not: its successor has
        the key's next id, and takes from the cache what is finished.

    Raises:
        ConfigurationError: The key has started something else.
    """
    folder = home / "keys"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{key}.lock").open("a+", encoding="utf-8") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        guard.seek(0)
        if (home / "runs" / f"key-{key}.1").exists() and guard.read() not in ("", content):
            raise ConfigurationError(f"--key {key}: it has already started a run with another pipeline or other parameters; choose another --key")
        guard.truncate(0)
        guard.write(content)
        guard.flush()
        for attempt in count(1):
            identity = f"key-{key}.{attempt}"
            run = home / "runs" / identity
            if (run / "run.json").exists() or not run.exists():
                yield identity, run.exists()
                return
