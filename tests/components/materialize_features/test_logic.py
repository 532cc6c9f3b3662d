"""The newest values in the online store, and stores left as they were when that cannot be."""

import os
import signal
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from intermodal.components.materialize_features.logic import materialize_features
from intermodal.features.store import FeatureRepository, open_store, read_online
from intermodal.runtime.artifacts import read_json
from intermodal.runtime.errors import ConfigurationError, DataError, MachineError, StoreError
from tests.forked import in_a_process

START = datetime(2024, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DEFINITIONS = """
from datetime import timedelta
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Int64

shop = Entity(name="shop", join_keys=["shop"], value_type=ValueType.STRING)

def view(name, ttl, feature):
    source = FileSource(name=name, path=f"{name}.parquet", timestamp_field="event_timestamp")
    return FeatureView(name=name, entities=[shop], ttl=ttl, schema=[Field(name=feature, dtype=Int64)], source=source)

views = [view("sales", timedelta(hours=2), "sold"), view("places", timedelta(0), "floor")]
stock = FeatureService(name="stock", features=views)
unused = view("unused", timedelta(0), "nothing")
"""
#: shop, hour, number: out of order; the newest of a is null, b's only one has outlived its TTL when the last of all comes.
SALES = [("a", 3, None), ("a", 1, 7), ("b", 0, 5), ("c", 2, 6), ("c", 1, 4)]


def write(path, feature, rows):
    shops, hours, numbers = zip(*rows, strict=True) if rows else ((), (), ())
    moments = pa.array([START + hour * HOUR for hour in hours], pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"shop": pa.array(shops, pa.string()), "event_timestamp": moments, feature: pa.array(numbers, pa.int64())}), path)


def call(tables, repository, settings, output, *, service="stock", uri="", known=True):
    materialize_features(
        tables_path=str(tables),
        tables_uri=uri,
        repository_path=str(repository),
        store=settings,
        service=service,
        filter_by_created_timestamp=known,
        materialization_path=str(output),
    )


class Place:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "tables").mkdir()
        (folder / "repository").mkdir()
        (folder / "repository" / "definitions.py").write_text(DEFINITIONS)
        write(folder / "tables" / "places.parquet", "floor", [("a", -10_000, 1)])
        write(folder / "tables" / "sales.parquet", "sold", SALES)
        self.settings = {
            "project": "test",
            "registry": f"{folder}/stores/registry.db",
            "online_store": {"type": "sqlite", "path": f"{folder}/stores/online/online.db"},
        }

    def run(self, **settings) -> dict:
        tables, repository = str(self.folder / "tables"), str(self.folder / "repository")
        call(tables, repository, self.settings | settings, self.folder / "output", uri="s3://somewhere/tables")
        return read_json(self.folder / "output" / "materialization.json")

    def read(self, moment=START + 3 * HOUR) -> dict[str, tuple]:
        store = open_store(self.settings, self.folder)
        service = FeatureRepository(self.folder / "repository", self.folder / "tables").service("stock")
        return {row["shop"]: (row["sold"], row["floor"]) for row in read_online(store, service, [{"shop": each} for each in "abc"], moment)}


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_the_newest_row_of_each_entity_wins_even_when_null(place):
    place.run()
    assert place.read() == {"a": (None, 1), "b": (None, None), "c": (6, None)}


COUNTED = """
from datetime import timedelta
from feast import BatchFeatureView, Entity, FeatureService, Field, FileSource, ValueType
from feast.types import Int64, String

shop = Entity(name="shop", join_keys=["shop"], value_type=ValueType.STRING)

def count(frame):
    return frame.assign(sold=frame.sort_values("event_timestamp").groupby("shop").cumcount(), floor=0)

sales = BatchFeatureView(
    name="sales",
    entities=[shop],
    ttl=timedelta(0),
    mode="pandas",
    udf=count,
    schema=[Field(name="shop", dtype=String), Field(name="sold", dtype=Int64), Field(name="floor", dtype=Int64)],
    source=FileSource(name="sales", path="sales.parquet", timestamp_field="event_timestamp"),
    online=True,
)
stock = FeatureService(name="stock", features=[sales])
"""


def test_what_is_computed_from_several_rows_gets_them_all(place):
    (place.folder / "repository" / "definitions.py").write_text(COUNTED)
    place.run()
    assert place.read() == {"a": (1, 0), "b": (0, 0), "c": (1, 0)}


def test_it_says_what_was_loaded_from_where_into_what(place):
    assert place.run() == {
        "views": {
            "sales": {"rows": 5, "newest": "2024-03-01T03:00:00+00:00"},
            "places": {"rows": 1, "newest": (START - 10_000 * HOUR).isoformat()},
        },
        "registry": place.settings["registry"],
        "online_store": place.settings["online_store"],
        "sources": "s3://somewhere/tables",
    }


def test_twice_is_as_good_as_once(place):
    first, read = place.run(), place.read()
    assert (place.run(), place.read()) == (first, read)


def test_the_registry_lists_the_views(place):
    place.run()
    store = open_store(place.settings, place.folder)
    assert {view.name for view in store.list_feature_views()} == {"sales", "places", "unused"}
    assert [service.name for service in store.list_feature_services()] == ["stock"]


def test_later_data_replaces_what_it_has_and_keeps_the_rest(place):
    place.run()
    write(place.folder / "tables" / "sales.parquet", "sold", [("a", 4, 9)])
    place.run()
    assert place.read(START + 4 * HOUR) == {"a": (9, 1), "b": (None, None), "c": (6, None)}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda tables: (tables / "sales.parquet").unlink(), r"sales\.parquet: the feature source is missing"),
        (lambda tables: (tables / "sales.parquet").write_bytes(b"PAR1 and no more"), "not whole Parquet"),
        (lambda tables: write(tables / "sales.parquet", "sold", []), "has no rows"),
        (lambda tables: pq.write_table(pa.table({"shop": ["a"], "sold": [1]}), tables / "sales.parquet"), "no column 'event_timestamp'"),
    ],
    ids=["missing", "broken", "empty", "without a time"],
)
def test_a_source_that_cannot_be_read_leaves_the_stores_as_they_were(place, files_of, spoil, words):
    place.run()
    before = files_of(place.folder / "stores")
    write(place.folder / "tables" / "places.parquet", "floor", [("a", 0, 99)])
    spoil(place.folder / "tables")
    with pytest.raises(DataError, match=words):
        place.run()
    assert files_of(place.folder / "stores") == before
    assert place.read()["c"] == (6, None)


def test_an_unknown_service_makes_no_store(place):
    with pytest.raises(ConfigurationError, match="did you mean 'stock'"):
        call(place.folder / "tables", place.folder / "repository", place.settings, place.folder / "output", service="stok")
    assert not (place.folder / "stores").exists()


def test_a_setting_that_feast_does_not_have_is_refused(place):
    with pytest.raises(ConfigurationError, match=r"no setting 'online_stor'; did you mean 'online_store'"):
        place.run(online_stor={})


def test_a_variable_stands_in_the_output_by_its_name(place, monkeypatch):
    monkeypatch.setenv("STORES_OF_TEST", f"{place.folder}/elsewhere")
    written = place.run(registry="${STORES_OF_TEST}/registry.db")
    assert written["registry"] == "${STORES_OF_TEST}/registry.db"
    assert (place.folder / "elsewhere" / "registry.db").exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"registry": {"registry_type": "sql", "path": "postgresql+psycopg://me:hunter22@host:5432/db"}},
        {"online_store": {"type": "redis", "connection_string": "localhost:6379,password=hunter22,ssl=true"}},
        {"online_store": {"type": "postgres", "host": "localhost", "password": "hunter22"}},
    ],
)
def test_a_password_in_a_setting_is_refused_by_its_key_and_not_shown(place, settings):
    with pytest.raises(ConfigurationError, match=r"store: (registry|online_store)\.\w+ carries a password.*\$\{NAME\}") as caught:
        place.run(**settings)
    assert "hunter22" not in str(caught.value)
    assert not (place.folder / "output").exists()


KEYS = [f"shop{n}" for n in range(3000)]


def many(place, hour):
    write(place.folder / "tables" / "sales.parquet", "sold", [(key, hour, hour * 10_000 + n) for n, key in enumerate(KEYS)])


def served(place, hour) -> list:
    store = open_store(place.settings, place.folder)
    service = FeatureRepository(place.folder / "repository", place.folder / "tables").service("stock")
    return [row["sold"] for row in read_online(store, service, [{"shop": key} for key in KEYS], START + hour * HOUR)]


def check(condition) -> None:
    if not condition:
        raise AssertionError


@pytest.mark.fault(
    "Stores",
    "kill -9 of materialize_features at a random change of Feast's registry and online store",
    "old values or new ones are served, none half-written; the next run gives what an undisturbed one gives",
)
def test_stores_whose_loading_was_killed_serve_old_or_new_values_and_the_next_run_succeeds(place, bucket, fault_random):
    place.settings = place.settings | {
        "registry": f"{bucket.path}/registry.db",
        "online_store": {"type": "sqlite", "path": f"{bucket.path}/online.db"},
    }
    old, new = ([hour * 10_000 + n for n in range(len(KEYS))] for hour in (1, 2))
    many(place, 2)
    before = bucket.changes
    assert in_a_process(place.run) == 0
    changes = bucket.changes - before
    assert changes > 50, "the stores are written to where changes are counted"
    for first in (True, False):
        for moment in fault_random.sample(range(1, changes), 4):
            for file in bucket.path.iterdir():
                file.unlink()
            if not first:
                many(place, 1)
                assert in_a_process(place.run) == 0
                many(place, 2)
            bucket.kill_at(moment)
            status = in_a_process(place.run)
            bucket.kill_at(0)
            assert status in (0, -signal.SIGKILL)
            if not first:
                expected = [set(pair) for pair in zip(old, new, strict=True)]
                assert in_a_process(lambda expected=expected: check(all(map(set.__contains__, expected, served(place, 2))))) == 0, f"change {moment}"
            assert in_a_process(place.run) == 0, f"killed at change {moment} of {changes}"
            assert in_a_process(lambda: check(served(place, 2) == new)) == 0, f"killed at change {moment} of {changes}"


@pytest.mark.fault(
    "Stores",
    "a full disk under Feast's registry, or its online store",
    "the disk is named; what was served is served on, and with room a run succeeds",
)
@pytest.mark.parametrize("full", ["registry", "online_store"])
def test_a_full_disk_of_a_store_is_named_and_what_was_there_is_served(place, small_disk, full):
    disk = small_disk("small", 4)
    store = f"{disk}/registry.db" if full == "registry" else {"type": "sqlite", "path": f"{disk}/online.db"}
    place.settings = place.settings | {full: store}
    many(place, 1)
    place.run()
    many(place, 2)
    status = os.statvfs(disk)
    (disk / "filling").write_bytes(bytes(status.f_bavail * status.f_frsize))
    with pytest.raises(MachineError, match=rf"no room left in {disk}\S*: its disk, mounted at {disk}, is full"):
        place.run()
    assert served(place, 2) == [10_000 + n for n in range(len(KEYS))]
    (disk / "filling").unlink()
    place.run()
    assert served(place, 2) == [20_000 + n for n in range(len(KEYS))]


@pytest.mark.fault("Stores", "a Feast registry of which only a part was written", "it is renamed and made anew; tasks that only read fail")
def test_a_part_of_a_registry_is_set_aside_and_made_anew(place, capsys):
    place.run()
    file = place.folder / "stores" / "registry.db"
    whole = file.read_bytes()
    for size in (0, 100, len(whole) // 2):
        file.write_bytes(whole[:size])
        with pytest.raises(StoreError, match=r"registry\.db: its writing was stopped half way; run materialize_features"):
            place.read()
        place.run()
        assert place.read() == {"a": (None, 1), "b": (None, None), "c": (6, None)}
        (kept,) = file.parent.glob("registry.db.half-written-*")
        assert f"kept as it was found as {kept}" in capsys.readouterr().out
        assert kept.read_bytes() == whole[:size]
        kept.unlink()


def test_a_registry_behind_a_link_is_written_where_the_link_leads(place):
    place.run()
    link = place.folder / "stores" / "registry.db"
    real = place.folder / "registry.db"
    link.rename(real)
    link.symlink_to(real)
    before = real.read_bytes()
    newer_data(place)
    place.run()
    assert link.is_symlink()
    assert real.read_bytes() != before


@pytest.mark.fault("Wrong input", "a folder in the place of Feast's registry", "one sentence")
def test_a_folder_in_place_of_the_registry_is_named(place):
    with pytest.raises(StoreError, match=r"tables: it cannot be read \(Is a directory\); correct `registry`"):
        place.run(registry=str(place.folder / "tables"))


@pytest.mark.fault("Stores", "another program's file in the place of Feast's registry, as MLflow's database", "it is refused and left as it is")
def test_a_file_of_another_kind_in_place_of_the_registry_is_left(place):
    file = place.folder / "mlflow.db"
    file.write_bytes(b"SQLite format 3\0" + bytes(100))
    with pytest.raises(StoreError, match=r"mlflow\.db: this file is no Feast registry; correct `registry`"):
        place.run(registry=str(file))
    assert [path.name for path in place.folder.glob("mlflow.db*")] == ["mlflow.db"]


def state(place) -> dict[str, tuple]:
    return {each.name: (each.stat().st_mtime_ns, each.stat().st_ino) for each in (place.folder / "stores").rglob("*.db")}


def test_stores_that_already_hold_the_same_are_left_untouched(place):
    first = place.run()
    before = state(place)
    assert place.run() == first
    assert state(place) == before
    assert place.read()["b"] == (None, None)


def newer_data(place):
    write(place.folder / "tables" / "sales.parquet", "sold", [*SALES, ("a", 4, 70)])


def another_definition(place):
    file = place.folder / "repository" / "definitions.py"
    file.write_text(file.read_text().replace("hours=2", "minutes=30"))


def a_lost_store(place):
    (place.folder / "stores" / "online" / "online.db").unlink()


def a_lost_registry(place):
    (place.folder / "stores" / "registry.db").unlink()


def a_value_written_by_somebody_else(place):
    with closing(sqlite3.connect(place.folder / "stores" / "online" / "online.db")) as database, database:
        database.execute("DELETE FROM test_sales")


def a_broken_record(place):
    (place.folder / "stores" / "online" / "online.db.notes.json").write_text("{")


@pytest.mark.parametrize("change", [newer_data, another_definition, a_lost_store, a_lost_registry, a_value_written_by_somebody_else, a_broken_record])
def test_after_a_change_of_data_definitions_or_stores_all_is_loaded_again(place, change):
    place.run()
    before = state(place)
    change(place)
    place.run()
    after = state(place)
    assert after.keys() == before.keys()
    assert after["registry.db"] != before["registry.db"]  # Feast notes there each time that it loads
    assert place.read(START + 4 * HOUR)["a"] == ((70, 1) if change is newer_data else (None, 1))
    assert place.read(START + 3 * HOUR)["c"] == (6 if change is not another_definition else None, None)


def test_what_a_source_outside_the_tables_holds_is_read_each_time(place):
    outside = place.folder / "outside.parquet"
    write(outside, "sold", SALES)
    file = place.folder / "repository" / "definitions.py"
    file.write_text(file.read_text().replace('path=f"{name}.parquet"', f'path="{outside}" if name == "sales" else f"{{name}}.parquet"'))
    place.run()
    write(outside, "sold", [*SALES, ("a", 4, 70)])
    place.run()
    assert place.read(START + 4 * HOUR)["a"] == (70, 1)
