"""Contract of `transform_tables`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="data")
def transform_tables(
    tables: dsl.Input[dsl.Dataset],
    repository: dsl.Input[dsl.Artifact],
    transformed: dsl.Output[dsl.Dataset],
):
    """Derive tables from tables with the SQL of a repository: feature sources, and the labelled examples that features are joined to.

    Args:
        tables: A directory of Parquet or CSV files, or of folders of them, whoever wrote it; each file or folder is a relation of its own name
            (folders `split=<part>` in it become a column `split`). One file alone is the relation of its name; without a suffix, `data`.
        repository: A directory with `transforms/*.sql`: one DuckDB SELECT each, run in the order of the file names; `10_name.sql` makes the
            relation `name`, which later files may read. Names that begin with an underscore are not written.
        transformed: A directory: `<name>.parquet` for each relation made.
    """
    from intermodal.components.transform_tables.logic import transform_tables

    transform_tables(tables_path=tables.path, repository_path=repository.path, transformed_path=transformed.path)
