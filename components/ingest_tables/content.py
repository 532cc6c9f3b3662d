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
        for column in table.combine_chunks().columns:
            _hash_array(digest or self._digest, column.chunk(0) if column.num_chunks else pa.array([], column.type))


def _hash_array(digest: "hashlib._Hash", array: pa.Array) -> None:
    """Take which values are null, then the values, as bytes that equal arrays share however they lie in memory: nulls as zeros or empty."""
    kind = array.type
    valid = np.asarray(pc.is_valid(array))
    digest.update(np.packbits(valid).tobytes())
    if pa.types.is_null(kind):
        return
    if pa.types.is_boolean(kind):
        digest.update(np.packbits(np.asarray(pc.fill_null(array, False))).tobytes())
    elif pa.types.is_string(kind) or pa.types.is_binary(kind):
        texts = pc.fill_null(array.cast(pa.large_binary()), b"") if array.null_count else array.cast(pa.large_binary())
        _, offsets, values = texts.buffers()
        ends = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
        digest.update(np.diff(ends).tobytes())
        digest.update(memoryview(values)[ends[0] : ends[-1]] if values else b"")
    elif pa.types.is_primitive(kind) or pa.types.is_decimal(kind) or pa.types.is_fixed_size_binary(kind):
        width = kind.bit_width // 8
        values = np.frombuffer(array.buffers()[1], np.uint8)[array.offset * width : (array.offset + len(array)) * width].reshape(-1, width)
        digest.update(values.tobytes() if valid.all() else np.where(valid[:, None], values, 0).tobytes())
    else:  # lists, structs and maps: rare, and not worth more than the slow way
        digest.update(repr(array.to_pylist()).encode())
