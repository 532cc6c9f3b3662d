"""Tables from tables, with a repository's SQL."""

import glob
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from intermodal.runtime.artifacts import whole_directory
from intermodal.runtime.datasets import Tables, open_tables
from intermodal.runtime.datasets.tables import PART_COLUMN
from intermodal.runtime.disk import room
from intermodal.runtime.errors import ConfigurationError, DataError, MachineError
from intermodal.runtime.tree import check_staged

_FILE_NAME = re.compile(r"(?:\d+_)?(?P<relation>_?[A-Za-z]\w*)\.sql", re.ASCII)
#: DuckDB takes 80 % of the memory (of the container's, in one) and spills beyond; no extension is fetched.
_SETTINGS = {"preserve_insertion_order": True, "autoinstall_known_extensions": False}


def transform_tables(tables_path: str, repository_path: str, transformed_path: str) -> None:
    """Run a repository's `transforms/*.sql` in the order of their names over tables, and write what they make as Parquet.

    Each file is one DuckDB SELECT; times are UTC; rows are written in the order that its ORDER BY gives. It sees the tables and what the files
    before it made, and no other file. What does not fit in memory goes to a temporary directory.

    Args:
        tables_path: A directory of tables, or a file that is one; see `runtime.datasets.open_tables`.
        repository_path: The directory that holds `transforms/`.
        transformed_path: The directory to write, whole or not at all.

    Raises:
        ConfigurationError: There are no transforms, a name is wrong or taken, or a statement is wrong; the message names the file and line.
        DataError: A table's files cannot be read, or a value stops a statement.
        MachineError: Memory or disk do not suffice.
    """
    statements = _statements(Path(repository_path))
    with (
        open_tables(tables_path) as tables,
        whole_directory(transformed_path) as folder,
        tempfile.TemporaryDirectory() as spill,
        duckdb.connect(config=_SETTINGS | {"temp_directory": spill}) as connection,
    ):
        connection.execute("SET TimeZone = 'UTC'")
        # A pattern is checked as it is written, so the escaped names are allowed too.
        folders = (Path(tables_path), tables.scratch, folder, Path(spill))
        allowed = {text for each in map(str, folders) for text in (each, glob.escape(each))}
        connection.execute(f"SET allowed_directories = [{', '.join(map(_text, sorted(allowed)))}]")
        if Path(tables_path).is_file():
            connection.execute(f"SET allowed_paths = [{_text(tables_path)}, {_text(glob.escape(tables_path))}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        taken = _bind_tables(connection, tables)
        for relation, path in statements.items():
            if relation.casefold() in taken:
                raise ConfigurationError(f"{path}: there is already a table {relation!r}; rename the file")
            with _named(path), room(path, folder):
                _make(connection, relation, _select(connection, path), None if relation.startswith("_") else folder / f"{relation}.parquet")


def _statements(repository: Path) -> dict[str, Path]:
    check_staged(repository)
    found: dict[str, Path] = {}
    for path in sorted((repository / "transforms").glob("*.sql")):
        named = _FILE_NAME.fullmatch(path.name)
        if not named:
            raise ConfigurationError(f"{path}: name it 10_relation.sql: digits for the order, then the relation it makes")
        clash = next((other for name, other in found.items() if name.casefold() == named["relation"].casefold()), None)
        if clash:
            raise ConfigurationError(f"{path}: {clash.name} makes {named['relation']!r} already; rename one")
        found[named["relation"]] = path
    if not found:
        raise ConfigurationError(f"{repository}: there is no transforms/*.sql; put one SELECT there for each table to make")
    return found


def _bind_tables(connection: duckdb.DuckDBPyConnection, tables: Tables) -> set[str]:
    """Make each table a view, and return their names in lower case."""
    for name, parts in tables.files.items():
        # Each part's name is a literal, not read by Hive partitioning, which would also read a `key=value` in the path above the table.
        selects = [f"SELECT *{f', {_text(part)} AS {PART_COLUMN}' if part else ''} FROM {_read(files)}" for part, files in parts.items()]  # noqa: S608
        try:
            connection.execute(f'CREATE VIEW "{name.replace(chr(34), chr(34) * 2)}" AS {" UNION ALL BY NAME ".join(selects)}')
        except duckdb.Error as error:
            raise DataError(f"{tables.path / name}: not whole Parquet ({_first_line(error)}); run the task that writes it again") from error
    return {name.casefold() for name in tables.files}


def _read(files: Sequence[Path]) -> str:
    # Escaped: brackets in a name are no pattern.
    listed = ", ".join(_text(glob.escape(str(file))) for file in files)
    return f"read_parquet([{listed}], hive_partitioning = false, union_by_name = {len(files) > 1})"


def _select(connection: duckdb.DuckDBPyConnection, path: Path) -> str:
    try:
        sql = path.read_text(encoding="utf-8").rstrip().rstrip(";")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8 text at byte {error.start}; save it as UTF-8") from error
    parsed = connection.extract_statements(sql)
    if len(parsed) != 1 or parsed[0].type != duckdb.StatementType.SELECT:
        raise ConfigurationError(f"{path}: it must be one SELECT, which makes the relation that the file is named after")
    return sql


def _make(connection: duckdb.DuckDBPyConnection, relation: str, sql: str, file: Path | None) -> None:
    """Make a relation: a temporary table, or, given a file, a view of the Parquet written there."""
    # The statement begins on the first line and ends before a line of its own, so that DuckDB counts lines as the file does.
    if file is None:
        connection.execute(f'CREATE TEMP TABLE "{relation}" AS {sql}\n')
        return
    connection.execute(f"COPY ({sql}\n) TO {_text(file)} (FORMAT parquet, COMPRESSION zstd)")
    connection.execute(f'CREATE VIEW "{relation}" AS FROM read_parquet({_text(glob.escape(str(file)))}, hive_partitioning = false)')


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say which file a statement is from, and whose fault it is."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise MachineError(f"{path}: it needs more memory than there is ({_first_line(error)}); select less at a time") from error
    except duckdb.IOException as error:
        raise DataError(f"{path}: a table cannot be read ({_first_line(error)}); run the task that writes it again") from error
    except (duckdb.ConversionException, duckdb.OutOfRangeException, duckdb.InvalidInputException) as error:
        raise DataError(f"{path}: a value stops it: {error}; correct the data, or use TRY_CAST") from error
    except duckdb.Error as error:
        raise ConfigurationError(f"{path}: {error}") from error


def _text(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
