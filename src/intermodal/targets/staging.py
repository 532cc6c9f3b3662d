"""Files of this machine that a remote task needs, put below the artifact root under names that are their content's."""

import hashlib
from pathlib import Path
from urllib.parse import urlsplit

from intermodal.artifacts import tree_hash
from intermodal.errors import ConfigurationError
from intermodal.targets.object_store import ObjectStore, open_object_store


class Staging:
    """A place below an artifact root.

    Args:
        root: The artifact root: ``gs://``, ``s3://`` or ``minio://``.
        endpoint: URL of an S3-compatible store that is not AWS.
    """

    def __init__(self, root: str, endpoint: str | None = None) -> None:
        self._root = root.rstrip("/")
        self._prefix = urlsplit(self._root).path.strip("/")
        self._endpoint = endpoint
        self._opened: ObjectStore | None = None

    def stage(self, path: Path) -> str:
        """Upload a file or a folder, unless the same content is there already.

        Args:
            path: A file or a folder of this machine; `__pycache__` is left out.

        Returns:
            Its URI, which has the content's hash in it. A marker beside it is written last, so that what was cut half-way is uploaded again.

        Raises:
            ConfigurationError: There is nothing at `path`.
            PlatformError: The store cannot be reached, or refuses.
        """
        files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file() and "__pycache__" not in each.parts)
        if not files:
            raise ConfigurationError(f"{path}: no such file, or an empty folder; correct the configuration")
        digest = _file_hash(path) if path.is_file() else tree_hash(path)
        place = "/".join(filter(None, (self._prefix, "staged", digest[:32])))
        marker, uri = f"{place}.complete", f"{self._root}/staged/{digest[:32]}/{path.name}"
        if not self._store.exists(marker):
            for each in files:
                self._store.put(f"{place}/{path.name}" + (f"/{each.relative_to(path).as_posix()}" if path.is_dir() else ""), each)
            self._store.put_text(marker, "")
        return uri

    @property
    def _store(self) -> ObjectStore:
        if self._opened is None:
            self._opened = open_object_store(self._root, self._endpoint)
        return self._opened


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
