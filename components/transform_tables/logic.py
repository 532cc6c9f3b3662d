"""Tables from tables, with a repository's SQL."""

import os
import re
import tempfile
from pathlib import Path

import duckdb

from intermodal.artifacts import whole_directory
from intermodal.errors import ConfigurationError, DataError

_FILE_NAME = re.compile(r"(?:\d+_)?(?P<relation>_?[A-Za-z]\w*)\.sql")


def transform_tables(tables_path: str, repository_path: str, transformed_path: str) -> None:
    """Run a repository's `transforms/*.sql` in the order of their names over tables, and write what they make as Parquet.

    Each file is one DuckDB SELECT; times are UTC; rows are written in the order that its ORDER BY gives. More than memory spills to disk.

    Args:
        tables_path: As `ingest_tables` writes them.
        repository_path: The directory that holds `transforms/`.
        transformed_path: The directory to write, whole or not at all.

    Raises:
        ConfigurationError: There are no transforms, a name is wrong or taken, or a statement fails; the message names the file.
        DataError: A table's files cannot be read.
    """
    statements = _statements(Path(repository_path))
    with whole_directory(transformed_path) as folder, tempfile.TemporaryDirectory() as spill:
        with duckdb.connect(config={"temp_directory": spill, "preserve_insertion_order": True}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            taken = _bind_tables(connection, Path(tables_path))
            for relation, path in statements.items():
                if relation in taken:
                    raise ConfigurationError(f"{path}: there is already a table {relation!r}; rename the file")
                _run(connection, relation, path)
                if not relation.startswith("_"):
                    file = str(folder / f"{relation}.parquet").replace("'", "''")
                    connection.execute(f"COPY \"{relation}\" TO '{file}' (FORMAT parquet, COMPRESSION zstd)")


def _statements(repository: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted((repository / "transforms").glob("*.sql")):
        named = _FILE_NAME.fullmatch(path.name)
        if not named:
            raise ConfigurationError(f"{path}: name it 10_relation.sql: digits for the order, then the relation it makes")
        if named["relation"] in found:
            raise ConfigurationError(f"{path}: {found[named['relation']].name} makes {named['relation']!r} already; rename one")
        found[named["relation"]] = path
    if not found:
        raise ConfigurationError(f"{repository}: there is no transforms/*.sql; put one SELECT there for each table to make")
    return found


def _bind_tables(connection: duckdb.DuckDBPyConnection, tables: Path) -> set[str]:
    names = {path.name for path in tables.iterdir() if path.is_dir()}
    if not names:
        raise DataError(f"{tables}: there are no tables; run ingest_tables first")
    for name in sorted(names):
        files = str(tables / name / "**" / "*.parquet").replace("'", "''")
        try:
            connection.execute(f"CREATE VIEW \"{name}\" AS SELECT * FROM read_parquet('{files}', hive_partitioning = true)")
        except duckdb.Error as error:
            raise DataError(f"{tables / name}: not whole Parquet ({error}); run the task that writes it again") from error
    return names


def _run(connection: duckdb.DuckDBPyConnection, relation: str, path: Path) -> None:
    sql = path.read_text(encoding="utf-8").strip().rstrip(";")
    try:
        parsed = connection.extract_statements(sql)
        if len(parsed) != 1 or parsed[0].type != duckdb.StatementType.SELECT:
            raise ConfigurationError(f"{path}: it must be one SELECT, which makes the relation {relation!r}")
        connection.execute(f'CREATE TEMP TABLE "{relation}" AS {sql}{os.linesep}')
    except duckdb.Error as error:
        raise ConfigurationError(f"{path}: {error}") from error
