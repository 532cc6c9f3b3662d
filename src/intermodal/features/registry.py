"""Feast's registry in a file, written whole or not at all."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from feast.infra.registry.file import FileRegistryStore
from feast.protos.feast.core.Registry_pb2 import Registry
from google.protobuf.message import DecodeError

from intermodal.runtime.artifacts import whole_file
from intermodal.runtime.errors import StoreError


class WholeFileRegistryStore(FileRegistryStore):  # type: ignore[misc]
    """Feast's own, which empties the file and then fills it: killed in between, or out of disk, it leaves a part of a registry."""

    _filepath: Path

    def _write_registry(self, registry_proto: Any) -> None:
        place = self._filepath
        try:
            with whole_file(place.resolve()) as scratch:  # a link to a registry stays one
                self._filepath = scratch
                super()._write_registry(registry_proto)
        finally:
            self._filepath = place


def is_registry(file: Path) -> bool:
    """Return whether a file holds a registry, and not a part of one.

    Raises:
        StoreError: It cannot be read, or is a folder.
    """
    try:
        return bool(Registry.FromString(file.read_bytes()).version_id)
    except DecodeError:
        return False
    except OSError as error:
        raise StoreError(f"registry {file}: it cannot be read ({error.strerror}); correct `registry` in the feature store's settings") from error


def set_aside(file: Path) -> None:
    """Put a part of a registry out of the way, so that a new one is made; it is kept, and that is said.

    Raises:
        StoreError: The file is of another kind, somebody's data, and left as it is.
    """
    with file.open("rb") as opened:
        # A registry begins with its first entity; blocks that were not written before a power cut are zeros.
        if opened.read(1) not in (b"", b"\n", b"\0"):
            raise StoreError(f"registry {file}: this file is no Feast registry; correct `registry` in the feature store's settings")
    place = file.with_name(f"{file.name}.half-written-{datetime.now(UTC):%Y%m%dT%H%M%S}")
    file.rename(place)
    print(f"registry {file}: its writing had been stopped half way; it is made anew from the definitions, and kept as it was found as {place}")  # noqa: T201
