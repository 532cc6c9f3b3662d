"""Contract of `ingest_tables`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="data")
def ingest_tables(
    sources: list,
    tables: dsl.Output[dsl.Dataset],
    split_by: str = "",
    split_table: str = "",
    split_column: str = "",
    split_parts: dict = {},
    split_end: str = "",
    split_step: str = "1 day",
    fingerprint: str = "",
):
    """Read tables from files into Parquet, split one of them, and write a manifest by which the data can be named and found again.

    Args:
        sources: One entry for each table: a URI, or an object. The URI is of a file, a glob or a directory, local or gs:// or s3://; its file's name
            is the table's. The object has `name`; `uri`; `format`, csv or parquet, by default told from the file name, inside zip or gzip too;
            `columns`, name to Arrow type, the columns that must be there (others are kept as inferred); for csv `null_values`, `column_names`,
            `skip_rows` and `encoding`; `time_zone`, the zone of timestamps that carry none; `row_number`, the name of a column to add that numbers
            the rows from 0.
        tables: A directory: `<name>/*.parquet` (the split table as `<name>/split=<part>/*.parquet`) and `manifest.json` with each
            table's rows, columns, types and SHA-256, and where each part starts and ends.
        split_by: How to divide a table into parts: time or hash. Empty: not at all.
        split_table: The table to divide. Empty: the only one.
        split_column: The column to divide by: a timestamp with a zone, or any key.
        split_parts: For time, part name to {start, end}, start included, end excluded, either may be absent: ISO 8601 with a zone, or a time span
            before the end of the data, `-90 days` (minutes, hours, days or weeks), so that the windows roll as data is added. For hash, part name to
            fraction (these sum to 1). Rows outside every part keep the part `none`.
        split_end: Where windows that are counted back end: ISO 8601 with a zone, rounded down to `split_step`; later rows are in no part. Empty: with
            the day (UTC) of the column's last time, rounded down likewise.
        split_step: By how much such windows move at a time: a number of minutes, hours, days or weeks. Runs within a step have the same windows;
            with a step as long as the test window each step has test rows that no earlier one had.
        fingerprint: Any text that changes when the files behind the sources change, for instance that of `fingerprint_sources`; part of the
            cache key and of the manifest.
    """
    from intermodal.components.ingest_tables.logic import ingest_tables

    windows = ingest_tables(
        sources=sources,
        split_by=split_by,
        split_table=split_table,
        split_column=split_column,
        split_parts=split_parts,
        split_end=split_end,
        split_step=split_step,
        fingerprint=fingerprint,
        tables_path=tables.path,
    )
    tables.metadata.update({"windows": windows} if windows else {})
