"""Content hashes of tables: by the rows and columns alone, not by how a file happens to hold them."""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

#: Rows hashed together; fixed, so that the hash does not depend on how the rows came in batches.
_CHUNK = 1 << 16


class ContentHash:
    """SHA-256 over a table's schema and rows in their order."""

    def __init__(self, schema: pa.Schema) -> None:
        self._digest = hashlib.sha256(str([(each.name, str(each.type)) for each in schema]).encode())
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows."""
        self._waiting.append(batch)
        self._rows += batch.num_rows
        if self._rows >= _CHUNK:
            table = pa.Table.from_batches(self._waiting)
            whole = table.num_rows // _CHUNK * _CHUNK
            for start in range(0, whole, _CHUNK):
                self._take(table.slice(start, _CHUNK))
            rest = table.slice(whole)
            self._waiting, self._rows = rest.to_batches(), rest.num_rows

    def hexdigest(self) -> str:
        """Return the hash of all rows taken."""
        digest = self._digest.copy()
        if self._rows:
            self._take(pa.Table.from_batches(self._waiting), digest)
        return digest.hexdigest()

    def _take(self, table: pa.Table, digest: "hashlib._Hash | None" = None) -> None:
        into = digest or self._digest
        for column in table.combine_chunks().columns:
            array = column.chunk(0) if column.num_chunks else pa.array([], column.type)
            into.update(np.packbits(np.asarray(pc.is_valid(array))).tobytes())
            for piece in _bytes(array):
                into.update(piece)


def _bytes(array: pa.Array) -> list[bytes]:
    """Return an array's values as bytes that equal arrays share, nulls as zeros."""
    kind = array.type
    if pa.types.is_primitive(kind) and not pa.types.is_boolean(kind) and kind.bit_width in (8, 16, 32, 64):
        integers = array.view({8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}[kind.bit_width])
        return [np.asarray(pc.fill_null(integers, 0)).tobytes()]
    if pa.types.is_boolean(kind):
        return [np.packbits(np.asarray(pc.fill_null(array, False))).tobytes()]
    if not (pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_string(kind) or pa.types.is_large_binary(kind)):
        return [repr(array.to_pylist()).encode()]
    texts = pc.fill_null(array.cast(pa.large_binary()), b"")
    lengths = np.asarray(pc.binary_length(texts))
    return [lengths.tobytes(), *(each for each in [b"".join(texts.to_pylist())] if each)]
