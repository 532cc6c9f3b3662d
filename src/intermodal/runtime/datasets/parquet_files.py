"""Parquet files: opened without running what they bring, their row groups counted, and damage named with the file."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from intermodal.runtime.errors import DataError

if int(pa.__version__.partition(".")[0]) < 14:  # CVE-2023-47248: opening a file runs the pickle that an extension type brings.
    import pyarrow_hotfix  # noqa: F401 - importing it, here and in every Beam worker, is what refuses such a type.

_PICKLED_TYPE: Final = "arrow.py_extension_type"
#: Rows a batch at most.
_BATCH_ROWS: Final = 65_536
#: Bytes a batch, about: what bounds the rows where they are long.
_BATCH_BYTES: Final = 64 << 20


@contextmanager
def whole_parquet(name: str, remedy: str = "run the task that writes it again") -> Iterator[None]:
    """Turn PyArrow's error for a damaged file into a `DataError` that names the file and the remedy."""
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).partition("\n")[0].rstrip(". ")[:200]
        raise DataError(f"{name}: not whole Parquet ({reason}); {remedy}") from error
    except RuntimeError as error:
        if _PICKLED_TYPE not in str(error):
            raise
        # Not chained: the cause shows the pickle itself.
        raise DataError(
            f"{name}: a column has a type that is a Python pickle ({_PICKLED_TYPE}), and a pickle can run any program; write it as a plain column"
        ) from None


def row_groups(file: Path) -> list[int]:
    """Return the rows of each row group of a Parquet file.

    Raises:
        DataError: It is not whole Parquet.
    """
    with whole_parquet(str(file)):
        metadata = pq.ParquetFile(file).metadata
        return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]


def file_schema(file: Path) -> pa.Schema:
    """Return a Parquet file's columns.

    Raises:
        DataError: It is not whole Parquet.
    """
    with whole_parquet(str(file)):
        return pq.ParquetFile(file).schema_arrow


def batch_rows(parquet: pq.ParquetFile, group: int) -> int:
    """Return how many rows of a row group to read at once: 65,536 at most, fewer where they are long, so that a batch has about 64 MiB."""
    metadata = parquet.metadata.row_group(group)
    rows: int = _BATCH_BYTES * metadata.num_rows // max(metadata.total_byte_size, 1)
    return max(1, min(_BATCH_ROWS, rows))


def file_batches(file: Path, columns: Sequence[str], groups: Sequence[int] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a Parquet file, of the given columns, in batches bounded in rows and bytes.

    Args:
        file: The file.
        columns: The columns.
        groups: Numbers of the row groups to read. Default: all.

    Raises:
        DataError: It is not whole Parquet.
    """
    with whole_parquet(str(file)):
        parquet = pq.ParquetFile(file)
        for group in range(parquet.metadata.num_row_groups) if groups is None else groups:
            yield from parquet.iter_batches(batch_size=batch_rows(parquet, group), columns=list(columns), row_groups=[group])
