"""Contract of `ingest_tables`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="data")
def ingest_tables(sources: list, split: dict, fingerprint: str, tables: dsl.Output[dsl.Dataset]):
    """Read tables from files into Parquet, split one of them, and write a manifest by which the data can be named and found again.

    Args:
        sources: One object a table: `name`; `uri`, a file, a glob or a directory, local or gs:// or s3://; `format`, csv or parquet,
            by default told from the file name, inside zip or gzip too; `columns`, name to Arrow type, the columns that must be there
            (others are kept as inferred); for csv `null_values`, `column_names`, `skip_rows` and `encoding`; `time_zone`, the zone of
            timestamps that carry none; `row_number`, the name of a column to add that numbers the rows from 0.
        split: How one table is divided: `table`; `by`, time or hash; `column`; and `parts`, part name to `{start, end}` (ISO 8601, start
            included, end excluded, either may be absent) or to a fraction (hash; fractions sum to 1). Rows outside every part keep the
            part `none`. Empty: no split.
        fingerprint: Any text that changes when the files behind the sources change, for instance that of `fingerprint_sources`; part of the
            cache key and of the manifest.
        tables: A directory: `<name>/*.parquet` (the split table as `<name>/split=<part>/*.parquet`) and `manifest.json` with each
            table's rows, columns, types and SHA-256.
    """
    from intermodal.components.ingest_tables.logic import ingest_tables

    ingest_tables(sources=sources, split=split, fingerprint=fingerprint, tables_path=tables.path)
