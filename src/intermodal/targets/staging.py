"""Files of this machine that a remote task needs, put below the artifact root under names that are their content's."""

import hashlib
from pathlib import Path
from urllib.parse import urlsplit

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

    def stage(self, path: Path, pattern: str = "") -> str:
        """Upload a file or a folder, unless the same content is there already.

        Args:
            path: A file or a folder of this machine; `__pycache__` is left out.
            pattern: Of a folder only the files that match this glob. Default: all.

        Returns:
            Its URI, which has the content's hash in it, with the pattern at its end if there is one. A marker beside it is written last, so
            that what was cut half-way is uploaded again.

        Raises:
            ConfigurationError: There is nothing at `path`.
            PlatformError: The store cannot be reached, or refuses.
        """
        files = {"": path} if path.is_file() else _below(path, pattern or "**/*")
        if not files:
            raise ConfigurationError(f"{path / pattern}: no such file, or an empty folder; correct the configuration")
        digest = hashlib.sha256()
        for name, each in files.items():
            digest.update(f"{name}\0".encode() + _file_hash(each))
        place = "/".join(filter(None, (self._prefix, "staged", digest.hexdigest()[:32])))
        if not self._store.exists(f"{place}.complete"):
            for name, each in files.items():
                self._store.put("/".join(filter(None, (place, path.name, name))), each)
            self._store.put_text(f"{place}.complete", "")
        return "/".join(filter(None, (self._root, "staged", digest.hexdigest()[:32], path.name, pattern)))

    def check(self) -> None:
        """See that the root can be written, by writing an empty object below it.

        Raises:
            PlatformError: The store cannot be reached, or refuses.
        """
        self._store.put_text("/".join(filter(None, (self._prefix, "staged", ".writable"))), "")

    @property
    def _store(self) -> ObjectStore:
        if self._opened is None:
            self._opened = open_object_store(self._root, self._endpoint)
        return self._opened


def _below(folder: Path, pattern: str) -> dict[str, Path]:
    found = sorted(each for each in folder.glob(pattern) if each.is_file() and "__pycache__" not in each.parts)
    return {each.relative_to(folder).as_posix(): each for each in found}


def _file_hash(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
