"""The ASOF store's values are those of Feast's own DuckDB store, row for row, on tables small enough to be generated."""

import glob
from datetime import UTC, datetime, timedelta

import ibis
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.repo_config import RepoConfig
from feast.types import Array, Float64, Int64
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intermodal.runtime.errors import ConfigurationError, DataError

START = datetime(2024, 3, 1, tzinfo=UTC)
TTL = timedelta(minutes=3)
shop = Entity(name="shop", join_keys=["shop"], value_type=ValueType.STRING)
item = Entity(name="item", join_keys=["item"], value_type=ValueType.INT64)


def minute(number: float) -> datetime:
    return START + timedelta(minutes=number)


def at(*numbers: float | None) -> pa.Array:
    return pa.array([None if number is None else minute(number) for number in numbers], pa.timestamp("us", "UTC"))


class Stores:
    """Two stores over the same source: Feast's DuckDB store, and the one that joins with ASOF."""

    def __init__(self, folder, *, ttl: timedelta, created: bool = False) -> None:
        self.path = folder / "sales.parquet"
        source = FileSource(
            name="sales", path=str(self.path), timestamp_field="event_timestamp", created_timestamp_column="created" if created else ""
        )
        view = FeatureView(
            name="sales", entities=[shop, item], ttl=ttl, schema=[Field(name="sold", dtype=Int64), Field(name="price", dtype=Float64)], source=source
        )
        self.write([("a", 1, 0, 1, 1.0, 0)])
        self.stores = {}
        for name, kind in (("shipped", "duckdb"), ("asof", "intermodal.features.asof.AsofOfflineStore")):
            config = RepoConfig(
                project="test",
                provider="local",
                registry=str(folder / f"{name}.db"),
                online_store={"type": "sqlite", "path": str(folder / f"{name}-online.db")},
                offline_store={"type": kind},
                entity_key_serialization_version=3,
                repo_path=folder,
            )
            self.stores[name] = FeatureStore(config=config)
            self.stores[name].apply([shop, item, view])

    def write(self, rows: list[tuple]) -> None:
        """Write the source: shop, item, minute, sold, price, minute of creation."""
        shops, items, minutes, sold, price, created = zip(*rows, strict=True)
        table = {
            "shop": pa.array(shops, pa.string()),
            "item": pa.array(items, pa.int64()),
            "event_timestamp": at(*minutes),
            "sold": pa.array(sold, pa.int64()),
            "price": pa.array(price, pa.float64()),
            "created": at(*created),
        }
        pq.write_table(pa.table(table), self.path)

    def read(self, name: str, entities: list[tuple], **options) -> list[dict]:
        """Retrieve for (shop, item, minute), each row numbered, and return what came back."""
        shops, items, minutes = zip(*entities, strict=True)
        frame = pd.DataFrame({"number": range(len(entities)), "shop": shops, "item": items, "event_timestamp": [minute(each) for each in minutes]})
        features = ["sales:sold", "sales:price"]
        return self.stores[name].get_historical_features(entity_df=frame, features=features, **options).to_arrow().to_pylist()

    def equal(self, entities: list[tuple], **options) -> list[dict]:
        """Retrieve from both; insist that they agree, and that the ASOF store keeps the entity rows as they are."""
        shipped, asof = self.read("shipped", entities, **options), self.read("asof", entities, **options)
        assert [(row["number"], row["shop"], row["item"], row["event_timestamp"]) for row in asof] == [
            (number, place, thing, minute(when)) for number, (place, thing, when) in enumerate(entities)
        ]
        assert asof == sorted(shipped, key=lambda row: row["number"])
        return asof

    def sold(self, *entities: tuple, **options) -> list[int | None]:
        return [row["sold"] for row in self.equal(list(entities), **options)]


@pytest.fixture(scope="module", autouse=True)
def _fresh_files():
    """Sources are rewritten in place; the connection that Feast's DuckDB store shares must not keep what it read of them."""
    ibis.get_backend().raw_sql("SET enable_external_file_cache = false")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return Stores(tmp_path_factory.mktemp("plain"), ttl=TTL)


@pytest.fixture(scope="module")
def endless(tmp_path_factory):
    return Stores(tmp_path_factory.mktemp("endless"), ttl=timedelta(0))


@pytest.fixture(scope="module")
def corrected(tmp_path_factory):
    return Stores(tmp_path_factory.mktemp("corrected"), ttl=TTL, created=True)


def test_a_value_counts_from_its_timestamp_until_its_ttl_both_included(plain):
    plain.write([("a", 1, 5, 7, 1.5, 5)])
    minutes = (4.999, 5, 6.5, 8, 8.001)
    assert plain.sold(*(("a", 1, when) for when in minutes)) == [None, 7, 7, 7, None]


def test_a_ttl_of_zero_never_ends(endless):
    endless.write([("a", 1, 0, 7, 1.5, 0)])
    assert endless.sold(("a", 1, -1), ("a", 1, 0), ("a", 1, 10**7)) == [None, 7, 7]


def test_the_newest_row_wins_even_when_its_values_are_null(plain):
    plain.write([("a", 1, 0, 7, 1.5, 0), ("a", 1, 1, None, 2.5, 0)])
    assert [(row["sold"], row["price"]) for row in plain.equal([("a", 1, 2), ("a", 1, 0.5)])] == [(None, 2.5), (7, 1.5)]


def test_keys_match_as_a_whole_and_missing_entities_get_nothing(plain):
    plain.write([("a", 1, 0, 7, 1.0, 0), ("b", 2, 0, 8, 1.0, 0)])
    assert plain.sold(("a", 1, 1), ("a", 2, 1), ("b", 1, 1), ("b", 2, 1), ("c", 3, 1)) == [7, None, None, 8, None]


def test_duplicate_and_unordered_rows_stay_as_they_are(plain):
    plain.write([("b", 1, 2, 3, 1.0, 0), ("a", 1, 1, 2, 1.0, 0), ("a", 1, 0, 1, 1.0, 0)])
    assert plain.sold(("b", 1, 3), ("a", 1, 1), ("a", 1, 0), ("a", 1, 1), ("b", 1, 3)) == [3, 2, 1, 2, 3]


def test_of_rows_of_one_timestamp_the_last_created_wins(corrected):
    corrected.write([("a", 1, 0, 1, 1.0, 9), ("a", 1, 0, 2, 1.0, 3), ("a", 1, 1, 3, 1.0, 0)])
    assert corrected.sold(("a", 1, 0), ("a", 1, 2)) == [1, 3]


def test_what_was_created_later_is_unknown_when_asked_so(corrected):
    corrected.write([("a", 1, 0, 1, 1.0, 0), ("a", 1, 0, 2, 1.0, 2), ("a", 1, 1, 3, 1.0, 3)])
    entities = [("a", 1, when) for when in (0, 1.5, 2, 3)]
    assert corrected.sold(*entities, filter_by_created_timestamp=True) == [1, 1, 2, 3]
    assert corrected.sold(*entities) == [2, 3, 3, 3]


@pytest.mark.parametrize("full", [False, True])
def test_features_are_named_as_asked(plain, full):
    plain.write([("a", 1, 0, 7, 1.5, 0)])
    row = plain.equal([("a", 1, 0)], full_feature_names=full)[0]
    assert list(row)[-2:] == (["sales__sold", "sales__price"] if full else ["sold", "price"])


# Minutes are few, so that ties, both TTL bounds and late corrections come up in most examples.
MINUTES = st.integers(0, 8)
KEYS = st.tuples(st.sampled_from("ab"), st.integers(1, 2))
ENTITIES = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3), MINUTES), min_size=1, max_size=8)
ROW = st.tuples(KEYS, MINUTES, st.none() | st.integers(-9, 9), st.none() | st.floats(-9, 9), MINUTES).map(lambda row: (*row[0], *row[1:]))
EXAMPLES = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@EXAMPLES
@given(rows=st.lists(ROW, min_size=1, max_size=12, unique_by=lambda row: row[:3]), entities=ENTITIES)
@pytest.mark.parametrize("kind", ["plain", "endless"])
def test_both_stores_agree_on_any_tables(kind, rows, entities, request):
    stores = request.getfixturevalue(kind)
    stores.write(rows)
    stores.equal(entities)


@EXAMPLES
@given(rows=st.lists(ROW, min_size=1, max_size=12, unique_by=lambda row: (*row[:3], row[5])), entities=ENTITIES, known=st.booleans())
def test_both_stores_agree_on_any_corrections(corrected, rows, entities, known):
    corrected.write(rows)
    corrected.equal(entities, filter_by_created_timestamp=known)


@EXAMPLES
@given(rows=st.lists(ROW, min_size=1, max_size=12, unique_by=lambda row: row[:3]), entities=ENTITIES, ordered=st.booleans())
@pytest.mark.parametrize("kind", ["plain", "endless", "corrected"])
def test_both_stores_agree_on_rows_joined_in_chunks(kind, rows, entities, ordered, request, monkeypatch):
    monkeypatch.setattr("intermodal.features.asof._CHUNK", 3)
    stores = request.getfixturevalue(kind)
    stores.write(rows)
    many = entities * 12
    stores.equal(sorted(many, key=lambda entity: entity[2]) if ordered else many)


def test_chunks_of_rows_in_any_order_get_their_values(plain, monkeypatch):
    monkeypatch.setattr("intermodal.features.asof._CHUNK", 10)
    plain.write([("a", 1, when, when, 1.0, 0) for when in range(10)])
    minutes = [each / 10 for each in range(100)]
    for order in (minutes, minutes[::-1], minutes[50:] + minutes[:50]):
        frame = pd.DataFrame({"shop": "a", "item": 1, "event_timestamp": [minute(each) for each in order]})
        found = plain.stores["asof"].get_historical_features(entity_df=frame, features=["sales:sold"]).to_arrow()
        assert found.column("sold").to_pylist() == [int(each) for each in order]


def test_only_row_groups_that_can_matter_are_read(plain):
    """Damaged row groups are not noticed, where the rows' timestamps and the TTL leave them out."""
    plain.write([("a", 1, when, when, 1.0, 0) for when in range(20)])
    table = pq.read_table(plain.path)
    pq.write_table(table, plain.path, row_group_size=5)
    metadata = pq.read_metadata(plain.path)
    content = bytearray(plain.path.read_bytes())
    for group in (0, 3):
        pages = [metadata.row_group(group).column(number) for number in range(metadata.num_columns)]
        first = min(page.dictionary_page_offset or page.data_page_offset for page in pages)
        size = sum(page.total_compressed_size for page in pages)
        content[first : first + size] = b"\xff" * size
    plain.path.write_bytes(content)

    def sold(*minutes: float) -> list[int | None]:
        frame = pd.DataFrame({"shop": "a", "item": 1, "event_timestamp": [minute(each) for each in minutes]})
        return plain.stores["asof"].get_historical_features(entity_df=frame, features=["sales:sold"]).to_arrow().column("sold").to_pylist()

    assert sold(8, 14.5) == [8, 14]
    for damaged in (7, 15):
        with pytest.raises(DataError, match=r"'sales'.*sales\.parquet"):
            sold(damaged)


def test_rows_without_a_timestamp_get_nothing(plain, monkeypatch):
    monkeypatch.setattr("intermodal.features.asof._CHUNK", 2)
    plain.write([("a", 1, 0, 7, 1.5, 0)])
    frame = pd.DataFrame({"shop": "a", "item": 1, "event_timestamp": pd.to_datetime([None, None, minute(1), minute(2), None] * 3, utc=True)})
    found = plain.stores["asof"].get_historical_features(entity_df=frame, features=["sales:sold"]).to_arrow()
    assert found.column("sold").to_pylist() == [None, None, 7, 7, None] * 3


NULLABLE = st.tuples(st.sampled_from(["a", "b", None]), st.sampled_from([1, 2, None]), MINUTES)
VALUES = st.tuples(st.none() | st.integers(-3, 3), st.none() | st.integers(-3, 3).map(float), st.none() | st.integers(0, 4))


def expected(rows: list[tuple], entity: tuple, *, ttl: timedelta, created: bool, known: bool) -> int | None:
    """What a row gets in `sold`: the join in plain Python, row by row."""

    def least_null(value):
        return value is not None, value or 0

    shop, item, when = entity
    found = [
        row
        for row in rows
        if None not in (shop, item) and row[:2] == (shop, item) and row[2] <= when and not (known and (row[5] is None or row[5] > when))
    ]
    # The features in the order of their names: price, sold.
    newest = max(found, key=lambda row: (row[2], least_null(row[5]) if created else 0, least_null(row[4]), least_null(row[3])), default=None)
    return newest[3] if newest and (not ttl or minute(newest[2]) >= minute(when) - ttl) else None


@pytest.mark.fault("New data", "null in a part of a composite key, in the entity rows and in the source", "it matches nothing")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(NULLABLE, VALUES).map(lambda row: row[0] + row[1]), min_size=1, max_size=12),
    entities=st.lists(NULLABLE, min_size=1, max_size=8),
    chunk=st.sampled_from([3, 1000]),
    known=st.booleans(),
    shuffled=st.randoms(use_true_random=False),
)
@pytest.mark.parametrize("kind", ["plain", "endless", "corrected"])
def test_null_keys_match_nothing_and_ties_go_to_the_greatest_values(kind, rows, entities, chunk, known, shuffled, request, monkeypatch, tmp_path):
    """As the join in plain Python says, whatever the order of the rows in the file."""
    monkeypatch.setattr("intermodal.features.asof._CHUNK", chunk)
    stores = request.getfixturevalue(kind)
    shops, items, minutes = zip(*entities, strict=True)
    columns = {"shop": pa.array(shops, pa.string()), "item": pa.array(items, pa.int64()), "event_timestamp": at(*minutes)}
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    options = {"ttl": timedelta(0) if kind == "endless" else TTL, "created": kind == "corrected", "known": known and kind == "corrected"}
    wanted = [expected(rows, entity, **options) for entity in entities]
    for _ in range(2):
        stores.write(rows)
        job = stores.stores["asof"].get_historical_features(
            entity_df=f"SELECT * FROM read_parquet('{tmp_path}/rows.parquet')",
            features=["sales:sold", "sales:price"],
            filter_by_created_timestamp=known,
        )
        assert job.to_arrow().column("sold").to_pylist() == wanted
        shuffled.shuffle(rows)


def test_a_null_in_the_second_part_of_a_key_matches_nothing(plain):
    plain.write([("a", None, 0, 7, 1.0, 0), ("a", 1, 0, 8, 1.0, 0), (None, 1, 0, 9, 1.0, 0)])
    frame = pd.DataFrame({"shop": ["a", "a", None, None], "item": pd.array([None, 1, 1, None], "Int64"), "event_timestamp": [minute(1)] * 4})
    found = plain.stores["asof"].get_historical_features(entity_df=frame, features=["sales:sold"]).to_arrow()
    assert found.column("sold").to_pylist() == [None, 8, None, None]


def test_a_select_gives_the_same_as_a_frame(plain, tmp_path):
    plain.write([("a", 1, 0, 7, 1.5, 0), ("b", 1, 1, 8, 2.5, 0)])
    pq.write_table(
        pa.table({"number": [0, 1, 2], "shop": ["b", "a", "b"], "item": [1, 1, 1], "event_timestamp": at(2, 2, 2)}), tmp_path / "rows.parquet"
    )
    select = f"SELECT * FROM read_parquet('{tmp_path}/rows.parquet')"
    job = plain.stores["asof"].get_historical_features(entity_df=select, features=["sales:sold", "sales:price"])
    assert job.to_arrow().to_pylist() == plain.equal([("b", 1, 2), ("a", 1, 2), ("b", 1, 2)])


def test_a_lacking_join_key_is_named(plain):
    frame = pd.DataFrame({"shop": ["a"], "event_timestamp": [minute(0)]})
    with pytest.raises(DataError, match=r"'sales'.*no column 'item'"):
        plain.stores["asof"].get_historical_features(entity_df=frame, features=["sales:sold"])


def test_a_key_of_another_type_is_named(plain):
    plain.write([("a", 1, 0, 7, 1.5, 0)])
    frame = pd.DataFrame({"shop": ["a"], "item": ["1"], "event_timestamp": [minute(0)]})
    with pytest.raises(DataError, match=r"'sales'.*'item' is string.*int64"):
        plain.stores["asof"].get_historical_features(entity_df=frame, features=["sales:sold"]).to_arrow()


def test_a_name_that_is_taken_is_refused(plain):
    frame = pd.DataFrame({"shop": ["a"], "item": [1], "sold": [0], "event_timestamp": [minute(0)]})
    with pytest.raises(ConfigurationError, match="sales:sold: there is a column of that name already"):
        plain.stores["asof"].get_historical_features(entity_df=frame, features=["sales:sold"])


def test_a_broken_source_is_named(plain):
    plain.path.write_bytes(b"PAR1 and then nothing")
    frame = pd.DataFrame({"shop": ["a"], "item": [1], "event_timestamp": [minute(0)]})
    with pytest.raises(DataError, match=r"sales\.parquet"):
        plain.stores["asof"].get_historical_features(entity_df=frame, features=["sales:sold"]).to_arrow()


def test_a_result_can_be_persisted_once(plain, tmp_path):
    from feast.infra.offline_stores.file_source import SavedDatasetFileStorage

    plain.write([("a", 1, 0, 7, 1.5, 0)])
    frame = pd.DataFrame({"shop": ["a"], "item": [1], "event_timestamp": [minute(0)]})
    job = plain.stores["asof"].get_historical_features(entity_df=frame, features=["sales:sold"])
    storage = SavedDatasetFileStorage(path=str(tmp_path / "saved.parquet"))
    job.persist(storage)
    assert pq.read_table(tmp_path / "saved.parquet").column("sold").to_pylist() == [7]
    with pytest.raises(ConfigurationError, match="it exists"):
        job.persist(storage)


def retrieve(folder, view, rows: dict, features: list[str], *entities) -> list[dict]:
    """Retrieve from one view of any shape, with a store of its own."""
    config = RepoConfig(
        project="test",
        provider="local",
        registry=str(folder / "registry.db"),
        online_store={"type": "sqlite", "path": str(folder / "online.db")},
        offline_store={"type": "intermodal.features.asof.AsofOfflineStore"},
        entity_key_serialization_version=3,
        repo_path=folder,
    )
    store = FeatureStore(config=config)
    store.apply([*entities, view])
    service = FeatureService(name="all", features=features)
    store.apply([service])
    return store.get_historical_features(entity_df=pd.DataFrame(rows), features=service).to_arrow().to_pylist()


def source_of(path, **options) -> FileSource:
    return FileSource(name="sales", path=str(path), timestamp_field="event_timestamp", **options)


def sales(*, key: str = "shop", unit: str = "us", kind: pa.DataType | None = None, shops=("a", "b"), sold=(7, 8)) -> pa.Table:
    return pa.table({key: pa.array(shops, kind), "event_timestamp": at(0, 1).cast(pa.timestamp(unit, "UTC")), "sold": sold})


SOLD = [Field(name="sold", dtype=Int64)]


@pytest.mark.parametrize("form", ["directory", "partitions", "glob"])
def test_a_source_may_be_several_files(form, tmp_path):
    folder = tmp_path / "sales [1]"
    for number in (0, 1):
        part = folder / f"shop={'ab'[number]}" if form == "partitions" else folder
        part.mkdir(parents=True, exist_ok=True)
        table = sales().slice(number, 1)
        pq.write_table(table.drop_columns("shop") if form == "partitions" else table, part / f"{number}.parquet")
    path = f"{glob.escape(str(folder))}/*.parquet" if form == "glob" else folder
    view = FeatureView(name="sales", entities=[shop], ttl=TTL, schema=SOLD, source=source_of(path))
    rows = {"shop": ["b", "a", "c"], "event_timestamp": [minute(2)] * 3}
    assert [row["sold"] for row in retrieve(tmp_path, view, rows, [view], shop)] == [8, 7, None]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_timestamps_of_any_unit_are_compared(unit, tmp_path):
    pq.write_table(sales(unit=unit), tmp_path / "sales.parquet")
    view = FeatureView(name="sales", entities=[shop], ttl=TTL, schema=SOLD, source=source_of(tmp_path / "sales.parquet"))
    rows = {"shop": ["a"] * 4, "event_timestamp": [minute(each) for each in (-0.001, 0, 3, 3.001)]}
    assert [row["sold"] for row in retrieve(tmp_path, view, rows, [view], shop)] == [None, 7, 7, None]


def test_names_of_the_source_and_of_the_rows_may_differ(tmp_path):
    """Field mapping on the one side, an entity's alias on the other."""
    pq.write_table(sales(key="place").rename_columns(["place", "event_timestamp", "number"]), tmp_path / "sales.parquet")
    source = source_of(tmp_path / "sales.parquet", field_mapping={"place": "shop", "number": "sold"})
    view = FeatureView(name="sales", entities=[shop], ttl=TTL, schema=SOLD, source=source)
    rows = {"origin": ["b", "a"], "event_timestamp": [minute(2)] * 2}
    features = [view.with_join_key_map({"shop": "origin"})]
    assert [row["sold"] for row in retrieve(tmp_path, view, rows, features, shop)] == [8, 7]


@pytest.mark.parametrize("kind", [pa.int8(), pa.int64(), pa.uint64()])
def test_integer_keys_of_any_width_match(kind, tmp_path):
    pq.write_table(sales(key="item", kind=kind, shops=(1, 2)), tmp_path / "sales.parquet")
    view = FeatureView(name="sales", entities=[item], ttl=TTL, schema=SOLD, source=source_of(tmp_path / "sales.parquet"))
    rows = {"item": [2, 1, -1], "event_timestamp": [minute(2)] * 3}
    assert [row["sold"] for row in retrieve(tmp_path, view, rows, [view], item)] == [8, 7, None]


def test_a_view_without_entities_has_one_row_for_all(tmp_path):
    pq.write_table(sales(), tmp_path / "sales.parquet")
    view = FeatureView(name="sales", entities=[], ttl=TTL, schema=SOLD, source=source_of(tmp_path / "sales.parquet"))
    rows = {"number": [0, 1], "event_timestamp": [minute(0.5), minute(1)]}
    assert [row["sold"] for row in retrieve(tmp_path, view, rows, [view])] == [7, 8]


def test_ties_of_lists_are_decided_too(tmp_path):
    table = pa.table({"shop": ["a", "a"], "event_timestamp": at(0, 0), "sold": [[2, 1], [1, 9]]})
    view = FeatureView(
        name="sales", entities=[shop], ttl=TTL, schema=[Field(name="sold", dtype=Array(Int64))], source=source_of(tmp_path / "sales.parquet")
    )
    rows = {"shop": ["a"], "event_timestamp": [minute(0)]}
    for rows_of_file in ([0, 1], [1, 0]):
        pq.write_table(table.take(rows_of_file), tmp_path / "sales.parquet")
        assert retrieve(tmp_path, view, rows, [view], shop)[0]["sold"] == [2, 1]
