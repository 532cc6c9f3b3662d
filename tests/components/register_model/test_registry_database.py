"""The local registry's database: made, upgraded and repaired so that whatever stops it, the next task finds a registry with all its data."""

import contextlib
import fcntl
import os
import random
import re
import signal
import sqlite3
import threading
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from mlflow.store.db import utils
from mlflow.store.tracking.dbmodels.initial_models import Base
from sqlalchemy import create_engine, event
from sqlalchemy.engine import Engine

from intermodal.components.register_model.logic import register_model
from intermodal.registry.client import open_registry
from intermodal.runtime.errors import MachineError, StoreError
from tests.forked import in_a_process

pytestmark = pytest.mark.timeout(300)
RUN = "f" * 32


def revisions() -> list[str]:
    """Return MLflow's schema revisions, the newest first."""
    return [each.revision for each in ScriptDirectory.from_config(utils._get_alembic_config("")).walk_revisions()]


def migrate_in_place(file: Path, revision: str, statements: int = 0) -> None:
    """Migrate a file as MLflow does; kill the process before one of the statements."""
    left = [statements]

    def count(*_: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    engine = create_engine(f"sqlite:///{file}")
    event.listen(Engine, "before_cursor_execute", count)
    if not file.exists() or not file.stat().st_size:
        Base.metadata.create_all(engine)
    settings = utils._get_alembic_config(str(engine.url))
    with engine.begin() as connection:
        settings.attributes["connection"] = connection
        command.upgrade(settings, revision)
    file.with_suffix(".count").write_text(str(-left[0]))


def fill(file: Path) -> None:
    """Put a run with a parameter and a hundred metrics into a database of any revision."""
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        database.execute("insert into experiments (experiment_id, name, artifact_location, lifecycle_stage) values (7, 'old', '/old', 'active')")
        columns = "run_uuid, name, source_type, entry_point_name, user_id, status, start_time, end_time, lifecycle_stage, artifact_uri, experiment_id"
        database.execute(f"insert into runs ({columns}) values ('{RUN}', 'r', 'LOCAL', '', 'u', 'FINISHED', 1, 2, 'active', '/old/r', 7)")
        database.execute(f"insert into params (key, value, run_uuid) values ('seed', '7', '{RUN}')")
        database.executemany("insert into metrics (key, value, timestamp, run_uuid) values ('auc', ?, ?, ?)", [(n / 100, n, RUN) for n in range(100)])


def has_all(file: Path) -> bool:
    client = open_registry(f"sqlite:///{file}")
    return client.get_run(RUN).data.params == {"seed": "7"} and len(client.get_metric_history(RUN, "auc")) == 100


def works(file: Path) -> bool:
    client = open_registry(f"sqlite:///{file}")
    client.create_registered_model(f"m{random.random()}")
    return client.get_experiment("0").name == "Default"


def check(condition: bool) -> None:
    if not condition:
        raise AssertionError


@pytest.mark.fault("Stores", "kill -9 of MLflow's own creation of its database", "the database it left is finished by the next task")
def test_a_database_that_mlflow_left_half_made_is_finished(tmp_path, fault_random):
    file = tmp_path / "whole.db"
    assert in_a_process(lambda: migrate_in_place(file, "heads")) == 0
    statements = int(file.with_suffix(".count").read_text())
    assert statements > 200
    for number in fault_random.sample(range(1, statements), 2):
        half = tmp_path / f"{number}.db"
        assert in_a_process(lambda half=half, number=number: migrate_in_place(half, "heads", number)) == -signal.SIGKILL
        assert in_a_process(lambda half=half: check(works(half))) == 0, f"killed before statement {number} of {statements}"
    assert not list(tmp_path.glob("*.half-migrated*")), "nothing was in them"


@pytest.mark.fault(
    "Stores", "kill -9 of MLflow's own upgrade of a database that holds runs", "the database is repaired with all runs, and kept as it was found"
)
def test_a_database_that_mlflow_left_half_upgraded_is_repaired_with_its_data(tmp_path, fault_random, capfd):
    for attempt in range(2):
        start = fault_random.choice(revisions()[5:45])
        old = tmp_path / f"{attempt}.db"
        assert in_a_process(lambda old=old, start=start: migrate_in_place(old, start)) == 0
        fill(old)
        content = old.read_bytes()
        assert in_a_process(lambda old=old: migrate_in_place(old, "heads")) == 0
        statements = int(old.with_suffix(".count").read_text())
        # From the schema before, until the kill leaves what MLflow refuses.
        for number in fault_random.sample(range(2, statements), 2):
            old.write_bytes(content)
            assert in_a_process(lambda old=old, number=number: migrate_in_place(old, "heads", number)) == -signal.SIGKILL
            assert in_a_process(lambda old=old: check(has_all(old) and works(old))) == 0, f"from {start}, killed before {number} of {statements}"
            told = "is repaired with its" in capfd.readouterr().out
            assert told == bool(list(tmp_path.glob("*.half-migrated*")))
            for kept in tmp_path.glob("*.half-migrated*"):
                with contextlib.closing(sqlite3.connect(kept)) as database:
                    assert database.execute("pragma integrity_check").fetchone() == ("ok",)
                kept.unlink()


def test_a_repair_keeps_all_runs_and_says_where_the_old_file_is(tmp_path, capsys):
    file = tmp_path / "mlflow.db"
    assert in_a_process(lambda: migrate_in_place(file, "heads")) == 0
    fill(file)
    # As after a kill before the last step of a migration, which notes the revision.
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        database.execute("update alembic_version set version_num = ?", [revisions()[12]])
    found = file.read_bytes()
    assert in_a_process(lambda: migrate_in_place(file, "heads")) == 1, "MLflow itself cannot go on"
    assert has_all(file)
    assert works(file)
    (kept,) = tmp_path.glob("mlflow.db.half-migrated-*")
    with contextlib.closing(sqlite3.connect(kept)) as database:
        assert database.execute("select count(*) from metrics").fetchone() == (100,)
    assert len(found) == kept.stat().st_size
    said = capsys.readouterr().out
    assert f"model registry {file}: an earlier migration by MLflow was interrupted; the database is repaired with its 103 rows" in said
    assert str(kept) in said


@pytest.mark.fault(
    "Stores",
    "kill -9 at a random change of files while the registry's database is made or upgraded",
    "it is the old one or the new one, with all its data",
)
def test_a_database_whose_making_or_upgrade_is_killed_is_old_or_new(bucket, tmp_path, fault_random):
    old = tmp_path / "old.db"
    assert in_a_process(lambda: migrate_in_place(old, revisions()[9])) == 0
    fill(old)
    for start, whole in ((b"", works), (old.read_bytes(), has_all)):
        file = bucket.path / "registry" / "mlflow.db"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(start)
        before = bucket.changes
        assert in_a_process(lambda file=file, whole=whole: check(whole(file))) == 0
        changes = bucket.changes - before
        # The last ones put it in place.
        moments = [fault_random.randrange(1, changes), *fault_random.sample(range(changes - changes // 5, changes), 2)]
        for moment in moments:
            file.write_bytes(start)
            bucket.kill_at(moment)
            status = in_a_process(lambda file=file: open_registry(f"sqlite:///{file}"))
            bucket.kill_at(0)
            assert status in (0, -signal.SIGKILL)
            assert in_a_process(lambda file=file, whole=whole: check(whole(file))) == 0, f"killed at change {moment} of {changes}"
        assert {path.name for path in file.parent.iterdir()} == {"mlflow.db", "mlflow.db.lock"}


@pytest.mark.fault(
    "Stores", "a full disk while the registry's database is made or upgraded", "the disk is named; what was there stays, and with room it goes on"
)
@pytest.mark.parametrize("room", [16 << 10, 300 << 10, 1200 << 10])
def test_a_full_disk_leaves_the_database_as_it_was(tmp_path, small_disk, room):
    old = tmp_path / "old.db"
    assert in_a_process(lambda: migrate_in_place(old, revisions()[9])) == 0
    fill(old)
    for name, start in (("made", b""), ("upgraded", old.read_bytes())):
        disk = small_disk(name, 8, room=len(start) + room)
        file = disk / "mlflow.db"
        file.write_bytes(start)
        with pytest.raises(MachineError, match=rf"model registry {file}: no room left in {disk}\S*: its disk, mounted at {disk}, is full"):
            open_registry(f"sqlite:///{file}")
        with contextlib.closing(sqlite3.connect(file)) as database:
            assert bool(database.execute("select * from sqlite_master").fetchall()) == bool(start)
        assert not start or file.read_bytes() == start
        (disk / "filling").unlink()
        assert works(file)
        assert not start or has_all(file)
        assert {path.name for path in disk.iterdir()} == {"mlflow.db", "mlflow.db.lock"}


@pytest.mark.fault("Stores", "a full disk of the registry while a model is registered", "the disk is named; with room the same call registers it")
def test_a_full_disk_while_a_model_is_registered_is_named(small_disk, registrable, register_champion, files_of):
    disk = small_disk("small", 8)
    arguments = {"registry": f"sqlite:///{disk}/mlflow.db", "name": "m"}
    register_champion(*arguments.values(), "first")
    status = os.statvfs(disk)
    (disk / "filling").write_bytes(bytes(status.f_bavail * status.f_frsize - (64 << 10)))
    second = registrable("x" * 400_000, against="1")
    with pytest.raises(MachineError, match=rf"no room left in {disk}\S*: its disk, mounted at {disk}, is full"):
        register_model(**second, **arguments)
    client = open_registry(arguments["registry"])
    assert client.get_model_version_by_alias("m", "champion").version in ("1", 1)
    (disk / "filling").unlink()
    register_model(**second, **arguments)
    version = client.get_model_version("m", "2")
    assert files_of(Path(version.source)) == files_of(Path(second["model_path"]))


def test_a_database_of_a_newer_mlflow_is_refused_and_left(tmp_path):
    file = tmp_path / "mlflow.db"
    assert works(file)
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        database.execute("update alembic_version set version_num = 'abcdef'")
    content = file.read_bytes()
    with pytest.raises(StoreError, match=re.escape("its schema abcdef is not one that MLflow") + r" \S+ knows, so a newer MLflow made it"):
        open_registry(f"sqlite:///{file}")
    assert file.read_bytes() == content


def test_what_else_a_database_holds_stays(tmp_path):
    file = tmp_path / "mlflow.db"
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        database.execute("create table notes (text)")
        database.execute("insert into notes values ('mine')")
    assert works(file)
    with contextlib.closing(sqlite3.connect(file)) as database:
        assert database.execute("select text from notes").fetchall() == [("mine",)]


def test_a_database_that_another_program_writes_to_is_waited_for_and_named(tmp_path, monkeypatch):
    file = tmp_path / "mlflow.db"
    monkeypatch.setattr("intermodal.registry.database._LOCK_SECONDS", 0.1)
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("begin exclusive")
        with pytest.raises(StoreError, match=r"mlflow\.db: database is locked; run again when no other program writes to it"):
            open_registry(f"sqlite:///{file}")


@pytest.mark.fault("Stores", "a task needs the registry while another upgrades its database for a long time", "it waits for the end of that")
def test_a_long_upgrade_by_another_task_is_waited_for(tmp_path, monkeypatch):
    file = tmp_path / "mlflow.db"
    open_registry(f"sqlite:///{file}")
    monkeypatch.setattr("intermodal.registry.database._LOCK_SECONDS", 0.1)
    # What the other task holds meanwhile: the lock between tasks, and the database.
    guard = file.with_name("mlflow.db.lock").open("w")
    fcntl.flock(guard, fcntl.LOCK_EX)
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("begin exclusive")
    ended = threading.Event()

    def end():
        ended.set()
        other.close()
        guard.close()

    timer = threading.Timer(1.5, end)
    timer.start()
    open_registry(f"sqlite:///{file}")
    assert ended.is_set()
    timer.join()


@pytest.mark.fault("Stores", "a registry's database whose schema number is no text", "one sentence")
def test_a_database_whose_schema_is_unreadable_is_named(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.execute("create table alembic_version (version_num text)")
        database.execute("insert into alembic_version values (cast(x'ff' as text))")
        database.commit()
    with pytest.raises(StoreError, match=r"mlflow\.db: Could not decode to UTF-8.*; restore the file, or give"):
        open_registry(f"sqlite:///{tmp_path}/mlflow.db")
