"""The database of a local model registry: MLflow's schema in SQLite, created, upgraded and repaired in a copy that replaces it in one transaction.

MLflow's own migration changes the file step by step: interrupted by a kill or a full disk, it leaves a file that MLflow refuses to open from then on.
"""

import contextlib
import shutil
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from intermodal.runtime.artifacts import whole_file
from intermodal.runtime.disk import room
from intermodal.runtime.errors import StoreError

_LOCK_SECONDS: Final = 10
#: Alembic rewrites a table under this name, then drops the old one and renames.
_REWRITTEN: Final = "_alembic_tmp_"


def is_current(file: Path) -> bool:
    """Return whether a database has the schema of the installed MLflow; False also while another process keeps it locked, as during a migration.

    Raises:
        sqlite3.Error: It is no database.
        OSError: It cannot be opened.
    """
    if not file.exists():
        return False
    with contextlib.closing(sqlite3.connect(file, timeout=_LOCK_SECONDS)) as database:
        try:
            return _revision(database) == _head()
        except sqlite3.OperationalError as error:
            if not is_locked(error):
                raise
            return False


def is_locked(error: Exception) -> bool:
    """Return whether an error of SQLite says that another program has locked the database."""
    # Errors that Python itself raises, as for text that is not UTF-8, have no code.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def bring_up_to_date(file: Path) -> None:
    """Give a database the schema of the installed MLflow: create it, upgrade it, or repair one whose migration was interrupted.

    An interruption leaves the database as it was. Before a repair, a database with rows is copied to a file beside it. The caller makes sure that
    no other task does the same at the same time; other programs cannot open the database meanwhile.

    Raises:
        StoreError: A newer MLflow made it, or it cannot be repaired.
        MachineError: The disk is full.
        sqlite3.Error: It is no database, or is locked.
        OSError: It cannot be opened.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.migration")
    shutil.rmtree(aside, ignore_errors=True)
    with room(f"model registry {file}", file.parent), contextlib.closing(_locked(file)) as database:
        if _revision(database) == _head():
            return
        aside.mkdir()
        try:
            made = _migrated(file, database, aside)
            with contextlib.closing(sqlite3.connect(made)) as source:
                source.backup(database)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _locked(file: Path) -> sqlite3.Connection:
    """Return a connection that keeps the database locked until it is closed, also between its transactions."""
    database = sqlite3.connect(file, timeout=_LOCK_SECONDS, isolation_level=None)
    try:
        database.execute("pragma locking_mode = exclusive")
        database.execute("begin exclusive")
        database.execute("commit")
    except BaseException:
        database.close()
        raise
    return database


def _migrated(file: Path, database: sqlite3.Connection, aside: Path) -> Path:
    """Return a new database with the rows of the old one and the current schema."""
    from sqlalchemy.exc import SQLAlchemyError

    found = _revision(database)
    if found is not None and found not in _revisions():
        from mlflow import __version__

        raise StoreError(
            f"model registry {file}: its schema {found} is not one that MLflow {__version__} knows, so a newer MLflow made it;"
            " use that version, or give another registry"
        )
    copy = aside / "copy.db"
    _copied(database, copy)
    if not any(name.startswith(_REWRITTEN) for name in _tables(database)):
        try:
            _upgrade(copy, found)
        except SQLAlchemyError as error:
            if "disk is full" in str(error):
                raise
        else:
            return copy
    # An earlier migration was interrupted.
    _copied(database, copy)
    repaired = aside / "repaired.db"
    try:
        _upgrade(repaired, None, found or "")
        rows = _move_rows(copy, repaired)
        _upgrade(repaired, found)
    except (SQLAlchemyError, sqlite3.Error) as error:
        if "disk is full" in str(error):
            raise
        reason = str(error).partition("\n")[0]
        raise StoreError(
            f"model registry {file}: MLflow's migration from schema {found} was interrupted, and the file cannot be repaired ({reason});"
            " restore the file from a backup, or give another registry"
        ) from error
    kept = ""
    if rows:
        place = file.with_name(f"{file.name}.half-migrated-{datetime.now(UTC):%Y%m%dT%H%M%S}")
        with whole_file(place) as scratch:
            _copied(database, scratch)
        kept = f" with its {rows} rows; the file as it was found is kept as {place}"
    print(f"model registry {file}: an earlier migration by MLflow was interrupted; the database is repaired{kept}")  # noqa: T201 - for the task's log
    return repaired


def _upgrade(file: Path, revision: str | None, target: str = "heads") -> None:
    """Run MLflow's migrations on a database that no other process uses, from one revision to another; empty: MLflow's first schema."""
    from alembic import command
    from mlflow.store.db import utils
    from mlflow.store.tracking.dbmodels.initial_models import Base
    from sqlalchemy import URL, NullPool, create_engine, event

    engine = create_engine(URL.create("sqlite", database=str(file)), poolclass=NullPool)

    @event.listens_for(engine, "connect")  # type: ignore[untyped-decorator]
    def unsynchronised(connection: Any, record: object) -> None:
        # A copy that is deleted after any error need not survive a power failure.
        connection.execute("pragma synchronous = off")

    if revision is None:
        Base.metadata.create_all(engine)
    if target:
        settings = utils._get_alembic_config(str(engine.url))
        with engine.begin() as connection:
            settings.attributes["connection"] = connection
            command.upgrade(settings, target)


def _move_rows(source: Path, target: Path) -> int:
    """Copy the rows of tables of the same names from one database to another; return how many of them MLflow itself had not created."""
    moved = 0
    with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as database:
        database.execute("attach ? as source", [str(source)])
        theirs = _tables(database, "source")
        database.execute("begin")
        for table in sorted(_tables(database) - {"alembic_version"}):
            # Between dropping the old table and renaming the new one, all rows are in the new one.
            name = table if table in theirs else _REWRITTEN + table
            if name not in theirs:
                continue
            shared = _columns(database, "main", table) & _columns(database, "source", name)
            columns = ", ".join(f'"{each}"' for each in sorted(shared))
            moved -= database.execute(f'delete from main."{table}"').rowcount  # noqa: S608 - names from the schema
            moved += database.execute(f'insert into main."{table}" ({columns}) select {columns} from source."{name}"').rowcount  # noqa: S608
        database.execute("commit")
    return moved


def _copied(database: sqlite3.Connection, file: Path) -> None:
    file.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(file)) as copy:
        copy.execute("pragma synchronous = off")
        database.backup(copy)


def _revision(database: sqlite3.Connection) -> str | None:
    if "alembic_version" not in _tables(database):
        return None
    row = database.execute("select version_num from alembic_version").fetchone()
    return str(row[0]) if row else None


def _tables(database: sqlite3.Connection, schema: str = "main") -> set[str]:
    return {name for (name,) in database.execute(f"select name from {schema}.sqlite_master where type = 'table' and name not like 'sqlite_%'")}  # noqa: S608


def _columns(database: sqlite3.Connection, schema: str, table: str) -> set[str]:
    # Without generated columns.
    return {row[1] for row in database.execute(f'pragma {schema}.table_xinfo("{table}")') if row[6] == 0}


def _revisions() -> set[str]:
    return {each.revision for each in _scripts().walk_revisions()}


def _head() -> str:
    return str(_scripts().get_current_head())


def _scripts() -> Any:
    from alembic.script import ScriptDirectory
    from mlflow.store.db import utils

    return ScriptDirectory.from_config(utils._get_alembic_config(""))
