"""The ASOF store's values are those of Feast's own DuckDB store, row for row, on tables small enough to be generated."""

from datetime import UTC, datetime, timedelta

import ibis
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.repo_config import RepoConfig
from feast.types import Float64, Int64
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intermodal.runtime.errors import ConfigurationError, DataError

START = datetime(2024, 3, 1, tzinfo=UTC)
TTL = timedelta(minutes=3)
shop = Entity(name="shop", join_keys=["shop"], value_type=ValueType.STRING)
item = Entity(name="item", join_keys=["item"], value_type=ValueType.INT64)


def minute(number: float) -> datetime:
    return START + timedelta(minutes=number)


def at(*numbers: float) -> pa.Array:
    return pa.array([minute(number) for number in numbers], pa.timestamp("us", "UTC"))


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
        shops, items, moments, sold, price, created = zip(*rows, strict=True)
        table = {
            "shop": pa.array(shops, pa.string()),
            "item": pa.array(items, pa.int64()),
            "event_timestamp": at(*moments),
            "sold": pa.array(sold, pa.int64()),
            "price": pa.array(price, pa.float64()),
            "created": at(*created),
        }
        pq.write_table(pa.table(table), self.path)

    def read(self, name: str, entities: list[tuple], **options) -> list[dict]:
        """Retrieve for (shop, item, minute), each row numbered, and return what came back."""
        shops, items, moments = zip(*entities, strict=True)
        frame = pd.DataFrame({"number": range(len(entities)), "shop": shops, "item": items, "event_timestamp": [minute(each) for each in moments]})
        features = ["sales:sold", "sales:price"]
        return self.stores[name].get_historical_features(entity_df=frame, features=features, **options).to_arrow().to_pylist()

    def equal(self, entities: list[tuple], **options) -> list[dict]:
        """Retrieve from both; insist that they agree, and that the ASOF store keeps the entity rows as they are."""
        shipped, asof = self.read("shipped", entities, **options), self.read("asof", entities, **options)
        assert [(row["number"], row["shop"], row["item"], row["event_timestamp"]) for row in asof] == [
            (number, place, thing, minute(moment)) for number, (place, thing, moment) in enumerate(entities)
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


def test_a_value_counts_from_its_moment_until_its_ttl_both_included(plain):
    plain.write([("a", 1, 5, 7, 1.5, 5)])
    moments = (4.999, 5, 6.5, 8, 8.001)
    assert plain.sold(*(("a", 1, moment) for moment in moments)) == [None, 7, 7, 7, None]


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


def test_of_rows_of_one_moment_the_last_created_wins(corrected):
    corrected.write([("a", 1, 0, 1, 1.0, 9), ("a", 1, 0, 2, 1.0, 3), ("a", 1, 1, 3, 1.0, 0)])
    assert corrected.sold(("a", 1, 0), ("a", 1, 2)) == [1, 3]


def test_what_was_created_later_is_unknown_when_asked_so(corrected):
    corrected.write([("a", 1, 0, 1, 1.0, 0), ("a", 1, 0, 2, 1.0, 2), ("a", 1, 1, 3, 1.0, 3)])
    entities = [("a", 1, moment) for moment in (0, 1.5, 2, 3)]
    assert corrected.sold(*entities, filter_by_created_timestamp=True) == [1, 1, 2, 3]
    assert corrected.sold(*entities) == [2, 3, 3, 3]


@pytest.mark.parametrize("full", [False, True])
def test_features_are_named_as_asked(plain, full):
    plain.write([("a", 1, 0, 7, 1.5, 0)])
    row = plain.equal([("a", 1, 0)], full_feature_names=full)[0]
    assert list(row)[-2:] == (["sales__sold", "sales__price"] if full else ["sold", "price"])


# Minutes are few, so that ties, both TTL bounds and late corrections come up in most examples.
MOMENTS = st.integers(0, 8)
KEYS = st.tuples(st.sampled_from("ab"), st.integers(1, 2))
ENTITIES = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3), MOMENTS), min_size=1, max_size=8)
ROW = st.tuples(KEYS, MOMENTS, st.none() | st.integers(-9, 9), st.none() | st.floats(-9, 9), MOMENTS).map(lambda row: (*row[0], *row[1:]))
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
def test_both_stores_agree_on_rows_joined_in_stretches(kind, rows, entities, ordered, request, monkeypatch):
    monkeypatch.setattr("intermodal.features.asof._STRETCH", 3)
    stores = request.getfixturevalue(kind)
    stores.write(rows)
    many = entities * 12
    stores.equal(sorted(many, key=lambda entity: entity[2]) if ordered else many)


def test_rows_in_order_are_joined_in_stretches_and_others_at_once(plain, monkeypatch):
    monkeypatch.setattr("intermodal.features.asof._STRETCH", 10)
    plain.write([("a", 1, moment, moment, 1.0, 0) for moment in range(10)])
    moments = [each / 10 for each in range(100)]

    def stretches(order: list[float]) -> int:
        frame = pd.DataFrame({"shop": "a", "item": 1, "event_timestamp": [minute(each) for each in order]})
        job = plain.stores["asof"].get_historical_features(entity_df=frame, features=["sales:sold"])
        assert job.to_arrow().column("sold").to_pylist() == [int(each) for each in order]
        return len(job._query.load(job._connection))

    assert stretches(moments) == 10
    assert stretches(moments[::-1]) == 1
    assert stretches(moments[50:] + moments[:50]) == 1


def test_rows_without_a_moment_get_nothing(plain, monkeypatch):
    monkeypatch.setattr("intermodal.features.asof._STRETCH", 2)
    plain.write([("a", 1, 0, 7, 1.5, 0)])
    frame = pd.DataFrame({"shop": "a", "item": 1, "event_timestamp": pd.to_datetime([None, None, minute(1), minute(2), None] * 3, utc=True)})
    found = plain.stores["asof"].get_historical_features(entity_df=frame, features=["sales:sold"]).to_arrow()
    assert found.column("sold").to_pylist() == [None, None, 7, 7, None] * 3


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
    with pytest.raises(DataError, match=r"'sales'.*'item' is VARCHAR.*BIGINT"):
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
