"""Artifacts of this machine, copied to an object store; the counterpart of `fetching`."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from intermodal.storage.object_store import Content, place_of

_REQUESTS_AT_A_TIME = 8


def send(path: Path, uri: str, endpoint: str | None = None) -> int:
    """Upload a file, or all files below a folder; return how many.

    Each object appears whole; a reader that must see all or none waits for an object that is written after this returns.

    Args:
        path: A file or a folder of this machine.
        uri: Where it goes.
        endpoint: URL of an S3-compatible store that is not AWS.

    Raises:
        ConfigurationError: See `object_store.place_of`.
        PlatformError: The store cannot be reached, or refuses.
    """
    store, key = place_of(uri, endpoint)
    if path.is_file():
        store.put(key, Content(path))
        return 1
    files = [each for each in sorted(path.rglob("*")) if each.is_file()]
    with ThreadPoolExecutor(_REQUESTS_AT_A_TIME) as pool:
        list(pool.map(lambda each: store.put(f"{key}/{each.relative_to(path).as_posix()}", Content(each)), files))
    return len(files)


def remove(uri: str, endpoint: str | None = None) -> None:
    """Delete all objects below a URI.

    Raises:
        ConfigurationError: See `object_store.place_of`.
        PlatformError: The store cannot be reached, or refuses.
    """
    store, key = place_of(uri, endpoint)
    with ThreadPoolExecutor(_REQUESTS_AT_A_TIME) as pool:
        list(pool.map(store.delete, sorted(store.keys(f"{key}/"))))
