"""Creation times: what a row knew of corrections that came late, joined and served by one rule, as a join in plain Python has it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureStore
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intermodal.components.materialize_features.logic import materialize_features
from intermodal.features.point_in_time import EntityRows
from intermodal.features.store import FeatureRepository, open_store, read_online
from intermodal.features.view_source import ViewSource
from intermodal.runtime.errors import DataError

START = datetime(2024, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TTL = 3 * MINUTE
UTC_TIME = pa.timestamp("us", "UTC")
#: `some` has but one of the view's features.
DEFINITIONS = """
from datetime import timedelta
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int64

shop = Entity(name="shop", join_keys=["shop"], value_type=ValueType.STRING)
item = Entity(name="item", join_keys=["item"], value_type=ValueType.INT64)
source = FileSource(name="sales", path="sales.parquet", timestamp_field="event_timestamp", created_timestamp_column={created!r})
schema = [Field(name="sold", dtype=Int64), Field(name="price", dtype=Float64)]
sales = FeatureView(name="sales", entities=[shop, item], ttl=timedelta(minutes={ttl}), schema=schema, source=source)
every = FeatureService(name="every", features=[sales])
some = FeatureService(name="some", features=[sales[["sold"]]])
"""
#: shop, item, minute of the event, sold, price, minute of creation
Row = tuple[str | None, int | None, int | None, int | None, float | None, int | None]

MINUTES = st.integers(0, 6)
SOURCE_KEYS = st.tuples(st.sampled_from(["a", "a", "b", None]), st.sampled_from([1, 1, 2, None]))
VALUES = st.tuples(st.none() | st.integers(-2, 2), st.none() | st.integers(-2, 2).map(float), st.none() | MINUTES)
ROWS = st.lists(st.tuples(SOURCE_KEYS, st.none() | MINUTES, VALUES).map(lambda row: (*row[0], row[1], *row[2])), min_size=1, max_size=14)
# A time column as people have them: any unit, with a zone (another one than UTC, too) or without.
KINDS = st.sampled_from([pa.timestamp(unit, zone) for unit in ("s", "ms", "us", "ns") for zone in (None, "UTC", "America/New_York")])
EXAMPLES = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]}


def at(minutes, kind: pa.DataType = UTC_TIME) -> pa.Array:
    """Return times as a column of any kind; those without a zone are in UTC."""
    times = pa.array([None if minute is None else START + minute * MINUTE for minute in minutes], UTC_TIME)
    return times.cast(pa.timestamp(kind.unit, "UTC")).cast(kind)


def table(rows: list[Row], event: pa.DataType = UTC_TIME, created: pa.DataType = UTC_TIME) -> pa.Table:
    shops, items, minutes, sold, prices, creations = zip(*rows, strict=True)
    columns = {"shop": pa.array(shops, pa.string()), "item": pa.array(items, pa.int64()), "event_timestamp": at(minutes, event)}
    return pa.table(columns | {"sold": pa.array(sold, pa.int64()), "price": pa.array(prices, pa.float64()), "created": at(creations, created)})


def expected(rows: list[Row], entity: tuple, *, ttl: timedelta, created: bool, known: bool) -> tuple:
    """What an entity row gets in `sold` and `price`, found by looking at every row."""
    shop, item, time = entity
    candidates = [
        row
        for row in rows
        if None not in (shop, item, time, row[2]) and row[:2] == (shop, item) and row[2] <= time
        if not (created and known) or (row[5] is not None and row[5] <= time)
    ]

    def order(row: Row) -> tuple:
        # Null is the least; the features in the order of their names: price, sold.
        return row[2], *((value is not None, value or 0) for value in (row[5] if created else None, row[4], row[3]))

    newest = max(candidates, key=order, default=None)
    alive = newest is not None and (not ttl or newest[2] * MINUTE >= time * MINUTE - ttl)
    return (newest[3], newest[4]) if alive else (None, None)


@dataclass
class Place:
    """A repository, its table, and stores of its own."""

    folder: Path
    ttl: timedelta
    created: bool

    def __post_init__(self) -> None:
        for name in ("repository", "tables"):
            (self.folder / name).mkdir(parents=True)
        text = DEFINITIONS.format(created="created" if self.created else "", ttl=self.ttl / MINUTE)
        (self.folder / "repository" / "definitions.py").write_text(text)
        self.repository = FeatureRepository(self.folder / "repository", self.folder / "tables")
        self.count = 0

    def store(self, **offline) -> FeatureStore:
        """Return a store, the definitions applied."""
        store = open_store(self.stores("one") | {"offline_store": {"type": "intermodal.features.asof.AsofOfflineStore"} | offline}, self.folder)
        store.apply(self.repository.objects)
        return store

    def stores(self, name: str) -> dict:
        return {
            "project": "test",
            "registry": f"{self.folder}/{name}.db",
            "online_store": {"type": "sqlite", "path": f"{self.folder}/{name}-online.db"},
        }

    def write(self, source: pa.Table) -> None:
        pq.write_table(source, self.folder / "tables" / "sales.parquet")

    def read(self, store: FeatureStore, entities: list[tuple], service: str = "every", kind=UTC_TIME, **options) -> list[tuple]:
        """Join to (shop, item, minute), and return the features' values."""
        shops, items, minutes = zip(*entities, strict=True)
        rows = {"shop": pa.array(shops, pa.string()), "item": pa.array(items, pa.int64()), "event_timestamp": at(minutes, kind)}
        pq.write_table(pa.table(rows), self.folder / "rows.parquet")
        select = f"SELECT * FROM read_parquet('{self.folder}/rows.parquet')"
        job = store.get_historical_features(entity_df=select, features=self.repository.service(service), **options)
        found = job.to_arrow()
        return list(zip(*(found.column(name).to_pylist() for name in ("sold", "price") if name in found.column_names), strict=True))

    def materialize(self, *, known: bool = True, store: str | None = None) -> FeatureStore:
        """Load the table into new stores with the component's logic, or into those of the name given."""
        self.count += 1
        settings = self.stores(store or f"materialized-{self.count}")
        materialize_features(
            tables_path=str(self.folder / "tables"),
            tables_uri="",
            repository_path=str(self.folder / "repository"),
            store=settings,
            service="every",
            filter_by_created_timestamp=known,
            materialization_path=str(self.folder / f"materialization-{self.count}"),
        )
        return open_store(settings, self.folder)

    def served(self, store: FeatureStore, keys: list[tuple], minute: float, service: str = "every") -> list[tuple]:
        rows = [{"shop": shop, "item": item} for shop, item in keys]
        found = read_online(store, self.repository.service(service), rows, START + minute * MINUTE)
        return [tuple(row[name] for name in ("sold", "price") if name in row) for row in found]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """One place for each TTL, with and without creation times."""
    return {(ttl, created): Place(tmp_path_factory.mktemp("place") / "it", ttl, created) for ttl in (TTL, timedelta(0)) for created in (False, True)}


@settings(max_examples=150, **EXAMPLES)
@given(
    rows=ROWS,
    entities=st.lists(st.tuples(*(st.sampled_from(each) for each in (["a", "a", "b", "c", None], [1, 1, 2, None])), st.none() | MINUTES), min_size=1),
    ttl=st.sampled_from([TTL, timedelta(0)]),
    created=st.sampled_from([True, True, False]),
    known=st.booleans(),
    by_setting=st.booleans(),
    kinds=st.tuples(KINDS, KINDS, KINDS),
    row_group=st.sampled_from([2, 100]),
    chunk=st.sampled_from([2, 1000]),
)
def test_a_join_is_what_plain_python_finds(rows, entities, ttl, created, known, by_setting, kinds, row_group, chunk, places, stores, monkeypatch):
    """With creation times or without, unknown when later or not, by Feast's argument or by our store's setting, whatever the times' types."""
    monkeypatch.setattr("intermodal.features.asof._CHUNK", chunk)
    place = places[ttl, created]
    pq.write_table(table(rows, *kinds[:2]), place.folder / "tables" / "sales.parquet", row_group_size=row_group)
    store = stores(place, known and by_setting)
    options = {"filter_by_created_timestamp": True} if known and not by_setting else {}
    found = place.read(store, entities, kind=kinds[2], **options)
    assert found == [expected(rows, entity, ttl=ttl, created=created, known=known) for entity in entities]


@pytest.fixture(scope="module")
def stores():
    """Stores with and without the setting, opened once."""
    opened: dict[tuple, FeatureStore] = {}

    def of(place: Place, setting: bool) -> FeatureStore:
        key = id(place), setting
        if key not in opened:
            opened[key] = place.store(filter_by_created_timestamp=setting)
        return opened[key]

    return of


@settings(max_examples=15, **EXAMPLES)
@given(rows=ROWS.filter(lambda rows: any(row[2] is not None for row in rows)), known=st.booleans(), later=st.sampled_from([0, 2, 3, 4]))
@pytest.mark.parametrize("created", [True, False])
@pytest.mark.parametrize("ttl", [TTL, timedelta(0)], ids=["ttl", "endless"])
@pytest.mark.fault("New data", "rows of one key and time, late corrections, nulls", "what is served is what is joined for that time")
def test_what_is_served_is_what_is_joined_for_that_time(ttl, created, rows, known, later, places):
    """From the newest time in the data on, for every feature service, whatever the order in the file."""
    place = places[ttl, created]
    place.write(table(rows))
    store = place.materialize(known=known)
    newest = max(each for row in rows for each in (row[2], row[5] if created else None) if each is not None)
    keys = [(shop, item) for shop in "abc" for item in (1, 2)]
    entities = [(*key, newest + later) for key in keys]
    for service in ("every", "some"):
        joined = place.read(store, entities, service, filter_by_created_timestamp=known)
        assert place.served(store, keys, newest + later, service) == joined
        if service == "every":
            assert joined == [expected(rows, entity, ttl=ttl, created=created, known=known) for entity in entities]


def test_the_newest_row_is_served_though_it_was_created_after_the_newest_event(places):
    """Rows are usually created after their event: those of the end of the data are known, too."""
    place = places[TTL, True]
    place.write(table([("a", 1, 0, 1, 1.0, 1), ("a", 1, 5, 2, 1.0, 8), ("b", 1, 4, 3, 1.0, 5), ("b", 1, 4, 4, 1.0, 9)]))
    assert place.served(place.materialize(), [("a", 1), ("b", 1)], 7) == [(2, 1.0), (4, 1.0)]


def test_a_correction_replaces_what_is_served(places):
    place = places[timedelta(0), True]
    first = [("a", 1, 5, 9, 1.0, 5)]
    place.write(table(first))
    place.materialize(store="corrected")
    place.write(table([*first, ("a", 1, 5, 2, 1.0, 8)]))
    assert place.served(place.materialize(store="corrected"), [("a", 1)], 9) == [(2, 1.0)]


@pytest.mark.parametrize(("known", "sold"), [(True, 1), (False, 2)])
def test_what_is_created_after_the_end_of_feasts_own_materialisation_is_unknown_then(known, sold, places):
    """As a person may ask Feast to load what was known at an earlier time."""
    place = places[timedelta(0), True]
    place.write(table([("a", 1, 0, 1, 1.0, 1), ("a", 1, 1, 2, 1.0, 6)]))
    settings = place.stores(f"feast-{known}")
    settings["offline_store"] = {"type": "intermodal.features.asof.AsofOfflineStore", "filter_by_created_timestamp": known}
    settings["materialization"] = {"pull_latest_features": True}
    store = open_store(settings, place.folder)
    store.apply(place.repository.objects)
    store.materialize(start_date=START - MINUTE, end_date=START + 5 * MINUTE)
    assert place.served(store, [("a", 1)], 5) == place.read(store, [("a", 1, 5)]) == [(sold, 1.0)]


def test_a_tie_goes_one_way_in_every_feature_service(places):
    place = places[TTL, False]
    place.write(table([("a", 1, 0, 9, 1.0, 0), ("a", 1, 0, 3, 2.0, 0)]))
    store = place.store()
    assert [place.read(store, [("a", 1, 0)], service) for service in ("every", "some")] == [[(3, 2.0)], [(3,)]]


def test_a_source_without_the_declared_creation_times_is_refused(places):
    place = places[TTL, True]
    place.write(table([("a", 1, 0, 9, 1.0, 0)]).drop_columns("created"))
    with pytest.raises(
        DataError, match=r"sales\.parquet: the feature source has no column 'created', which the definitions name as its creation time"
    ):
        place.materialize()


def test_many_corrections_of_few_keys(tmp_path):
    """As a search row by row finds it; each event is corrected again and again, at any time."""
    random = np.random.default_rng(5)
    count = 3000
    event, sold = random.integers(0, 200, count), random.integers(0, 10**9, count)
    created = event + random.integers(-50, 400, count)
    keys = random.integers(0, 3, count)
    columns = {"item": keys, "event_timestamp": event.astype("M8[us]"), "created": created.astype("M8[us]"), "sold": sold}
    pq.write_table(pa.table(columns), tmp_path / "sales.parquet", row_group_size=500)
    when, wanted = random.integers(0, 700, 500), random.integers(0, 3, 500)
    source = ViewSource(
        view="sales",
        path=str(tmp_path / "sales.parquet"),
        keys=["item"],
        source_keys=["item"],
        timestamp="event_timestamp",
        created="created",
        ttl=timedelta(0),
        columns={"sold": "sold"},
        deciding=["sold"],
        filter_created=True,
    )
    source.open()
    entities = EntityRows(pa.table({"item": wanted, "time": when.astype("M8[us]")}), "time")
    entities.encode("item")
    rows = sorted(zip(event.tolist(), created.tolist(), sold.tolist(), keys.tolist(), strict=True), reverse=True)
    found = [
        next((row[2] for row in rows if row[3] == key and row[0] <= time and row[1] <= time), None) for key, time in zip(wanted, when, strict=True)
    ]
    assert source.join(entities)[0].to_pylist() == found
