"""Artifacts in object stores, copied to this machine."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from intermodal.runtime.artifacts import whole_directory, whole_file
from intermodal.runtime.errors import PlatformError
from intermodal.storage.object_store import place_of

#: Schemes of URIs that can be fetched; minio:// is Kubeflow's name for an S3 server of its own.
REMOTE = ("gs", "s3", "minio")
_REQUESTS_AT_A_TIME = 8


def fetch(uri: str, path: Path, endpoint: str | None = None) -> None:
    """Download an artifact, a file or all files below it; it appears whole, or not at all.

    Args:
        uri: For instance ``s3://pipelines/dev/run/task/examples``.
        path: Where it goes.
        endpoint: URL of an S3-compatible store that is not AWS.

    Raises:
        ConfigurationError: The scheme is none of `REMOTE`, or minio:// without an endpoint.
        PlatformError: There is nothing at `uri`, or the store cannot be reached or refuses.
    """
    store, key = place_of(uri, endpoint)
    found = store.keys(key)
    if key in found:
        with whole_file(path) as scratch:
            store.get(key, scratch)
        return
    below = {each.removeprefix(f"{key}/"): each for each in found if each.startswith(f"{key}/") and not each.endswith("/")}
    if not below:
        raise PlatformError(f"{uri}: there is nothing; the task that writes it failed, or the artifact was deleted since")
    if odd := [name for name in below if {"", ".", ".."} & set(name.split("/"))]:
        raise PlatformError(f"{uri}: the object {odd[0]!r} cannot be a file below a folder; rename it in the store")
    with whole_directory(path) as scratch, ThreadPoolExecutor(_REQUESTS_AT_A_TIME) as pool:

        def download(name: str) -> None:
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            store.get(below[name], scratch / name)

        list(pool.map(download, below))
