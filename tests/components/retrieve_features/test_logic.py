"""Features joined to labelled rows, part by part, and what is refused."""

import json
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig

from intermodal.components.retrieve_features.logic import retrieve_features
from intermodal.runtime.errors import ConfigurationError, DataError, MachineError

START = datetime(2024, 3, 1, tzinfo=UTC)
DEFINITIONS = """
from datetime import timedelta
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int64

shop = Entity(name="shop", join_keys=["shop"], value_type=ValueType.STRING)
schema = [Field(name="sold", dtype=Int64), Field(name="price", dtype=Float64)]
source = FileSource(name="sales", path="sales.parquet", timestamp_field="event_timestamp")
sales = FeatureView(name="sales", entities=[shop], ttl=timedelta(hours=1), schema=schema, source=source)
stock = FeatureService(name="stock", features=[sales])
"""


def at(*minutes):
    return pa.array([START + timedelta(minutes=minute) for minute in minutes], pa.timestamp("us", "UTC"))


SALES = pa.table({"shop": ["a", "b"], "event_timestamp": at(0, 0), "sold": [7, 8], "price": [1.5, None]})
SPINE = pa.table(
    {
        "event_timestamp": at(30, 10, 20, 10, 90),
        "shop": ["a", "c", "b", "a", "a"],
        "number": pa.array([3, 1, 2, 4, 5], pa.int32()),
        "label": [1, 0, 0, 1, 1],
        "split": ["test", "train", "train", "train", "none"],
    }
)


def call(folder, output, **given):
    """Call the logic with what the contract has as defaults where nothing is given."""
    defaults = {"service": "", "spine": "examples", "store": {}, "data_version": "", "filter_by_created_timestamp": True}
    paths = {"tables_path": str(folder / "tables"), "repository_path": str(folder / "repository"), "examples_path": str(output)}
    retrieve_features(**defaults | given, **paths)


@pytest.fixture
def retrieve(tmp_path):
    """Write a spine and a source, retrieve, and return each part's rows."""

    def run(
        spine=SPINE,
        sales=SALES,
        *,
        name="examples",
        service="stock",
        definitions=DEFINITIONS,
        data_version="",
        filter_by_created_timestamp=True,
        **settings,
    ):
        for folder in ("tables", "repository"):
            (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / "repository" / "definitions.py").write_text(definitions)
        pq.write_table(spine, tmp_path / "tables" / "examples.parquet")
        if sales is not None:
            pq.write_table(sales, tmp_path / "tables" / "sales.parquet")
        output = tmp_path / "output"
        given = {"data_version": data_version, "filter_by_created_timestamp": filter_by_created_timestamp}
        call(tmp_path, output, service=service, spine=name, store=settings, **given)
        return {part.name: pq.read_table(part) for part in sorted(output.iterdir())}

    run.folder = tmp_path
    return run


def test_parts_hold_the_spines_rows_in_order_with_the_features_beside_them(retrieve):
    parts = retrieve()
    assert {name: part.drop_columns("event_timestamp").to_pylist() for name, part in parts.items()} == {
        "test": [{"shop": "a", "number": 3, "label": 1, "sold": 7, "price": 1.5}],
        "train": [
            {"shop": "c", "number": 1, "label": 0, "sold": None, "price": None},
            {"shop": "b", "number": 2, "label": 0, "sold": 8, "price": None},
            {"shop": "a", "number": 4, "label": 1, "sold": 7, "price": 1.5},
        ],
    }


def test_types_stay_also_where_values_are_missing(retrieve):
    assert {name: str(part.schema.field("sold").type) for name, part in retrieve().items()} == {"test": "int64", "train": "int64"}
    part = retrieve(SPINE.slice(1, 1))["train"]
    assert [str(part.schema.field(name).type) for name in ("event_timestamp", "number", "sold", "price")] == [
        "timestamp[us, tz=UTC]",
        "int32",
        "int64",
        "double",
    ]


def test_without_a_split_all_rows_are_train(retrieve):
    parts = retrieve(SPINE.drop_columns("split"))
    assert list(parts) == ["train"]
    assert parts["train"].column("number").to_pylist() == [3, 1, 2, 4, 5]


def test_rows_in_no_part_are_left_out(retrieve):
    spine = SPINE.set_column(4, "split", pa.array(["test", None, "none", "test", "test"]))
    assert {name: part.column("number").to_pylist() for name, part in retrieve(spine).items()} == {"test": [3, 4, 5]}


def test_duplicate_rows_stay_duplicate(retrieve):
    parts = retrieve(pa.concat_tables([SPINE.slice(0, 1)] * 3))
    assert parts["test"].column("sold").to_pylist() == [7, 7, 7]


def test_order_holds_over_many_batches(retrieve):
    rows = 150_000
    numbers = pa.array(range(rows), pa.int64())
    minutes = pc.multiply(pc.subtract(numbers, pc.multiply(pc.divide(numbers, 97), 97)), 60_000_000)
    timestamps = pc.add(pa.scalar(int(START.timestamp() * 1e6)), minutes).cast(pa.timestamp("us", "UTC"))
    spine = pa.table({"event_timestamp": timestamps, "shop": pa.array(["a"] * rows), "number": numbers})
    train = retrieve(spine)["train"]
    assert train.column("number").equals(spine.column("number"))
    assert train.column("event_timestamp").equals(spine.column("event_timestamp"))


def test_feasts_own_duckdb_store_gives_the_same_by_configuration(retrieve):
    ours = {name: sorted(part.to_pylist(), key=lambda row: row["number"]) for name, part in retrieve().items()}
    shipped = {name: sorted(part.to_pylist(), key=lambda row: row["number"]) for name, part in retrieve(offline_store={"type": "duckdb"}).items()}
    assert shipped == ours


CORRECTED = pa.table({"shop": ["a", "a"], "event_timestamp": at(0, 0), "sold": [7, 8], "price": [1.5, 2.5], "created": at(5, 20)})
WITH_CREATED = DEFINITIONS.replace('timestamp_field="event_timestamp"', 'timestamp_field="event_timestamp", created_timestamp_column="created"')


@pytest.mark.fault("New data", "corrections that came after the prediction", "they are unknown to it unless the setting is off")
@pytest.mark.parametrize("kind", ["intermodal.features.asof.AsofOfflineStore", "duckdb"])
@pytest.mark.parametrize(("known", "sold"), [(True, {3: 8, 4: 7, 6: None}), (False, {3: 8, 4: 8, 6: 8})])
def test_what_was_created_later_is_unknown_in_any_offline_store(retrieve, kind, known, sold):
    """At minutes 30, 10 and 4; the first value was created at 5, its correction at 20."""
    spine = pa.table({"event_timestamp": at(30, 10, 4), "shop": ["a"] * 3, "number": [3, 4, 6]})
    found = retrieve(spine, CORRECTED, definitions=WITH_CREATED, filter_by_created_timestamp=known, offline_store={"type": kind})["train"]
    assert dict(zip(found.column("number").to_pylist(), found.column("sold").to_pylist(), strict=True)) == sold


def test_a_backfill_of_which_nothing_was_known_is_named(retrieve, capsys):
    spine = pa.table({"event_timestamp": at(4, 3), "shop": ["a", "a"], "number": [6, 7]})
    assert retrieve(spine, CORRECTED, definitions=WITH_CREATED)["train"].column("sold").to_pylist() == [None, None]
    assert "feature view 'sales': no row got a value, as none of" in capsys.readouterr().out
    retrieve(SPINE, CORRECTED, definitions=WITH_CREATED)
    assert not capsys.readouterr().out


def test_the_setting_of_the_store_yields_to_the_components(retrieve):
    spine = pa.table({"event_timestamp": at(10), "shop": ["a"], "number": [4]})
    store = {"offline_store": {"type": "intermodal.features.asof.AsofOfflineStore", "filter_by_created_timestamp": True}}
    found = retrieve(spine, CORRECTED, definitions=WITH_CREATED, filter_by_created_timestamp=False, **store)
    assert found["train"].column("sold").to_pylist() == [8]


class UnawareOfflineStoreConfig(DuckDBOfflineStoreConfig):
    type: str = f"{__name__}.UnawareOfflineStore"


class UnawareOfflineStore(DuckDBOfflineStore):
    """As Snowflake's, which cannot leave out what was created later."""

    supports_filter_by_created_timestamp = False


def test_an_offline_store_that_cannot_leave_out_what_was_created_later_is_refused(retrieve):
    unaware = {"offline_store": {"type": f"{__name__}.UnawareOfflineStore"}}
    with pytest.raises(ConfigurationError, match=r"'sales' declares creation times.*UnawareOfflineStore.*set filter_by_created_timestamp to false"):
        retrieve(sales=CORRECTED, definitions=WITH_CREATED, **unaware)
    assert retrieve(sales=CORRECTED, definitions=WITH_CREATED, filter_by_created_timestamp=False, **unaware)["test"].column("sold").to_pylist() == [8]
    assert retrieve(**unaware)["test"].column("sold").to_pylist() == [7]


def test_a_registry_that_outlives_the_run_is_left_alone(retrieve, tmp_path):
    retrieve(registry=str(tmp_path / "registry.db"), online_store={"type": "redis", "connection_string": "127.0.0.1:9"})
    assert not (tmp_path / "registry.db").exists()


@pytest.mark.parametrize(
    ("spine", "words"),
    [
        (SPINE.drop_columns("event_timestamp"), "no column 'event_timestamp'"),
        (
            SPINE.set_column(0, "event_timestamp", SPINE["event_timestamp"].cast(pa.timestamp("us"))),
            "not a time with a zone; select it as TIMESTAMPTZ",
        ),
        (SPINE.set_column(0, "event_timestamp", pa.array(["2024"] * 5)), "is string, not a time with a zone"),
        (SPINE.drop_columns("shop"), "'sales'.*no column 'shop'"),
        (SPINE.set_column(1, "shop", pa.array([1, 2, 3, 4, 5])), "'sales'.*key 'shop' is int64.*string"),
        (SPINE.slice(0, 0), "the spine has no rows"),
        (SPINE.slice(4, 1), "the spine has no rows"),
    ],
)
def test_a_spine_that_cannot_be_joined_is_refused_in_words(retrieve, spine, words):
    with pytest.raises(DataError, match=words):
        retrieve(spine)
    assert not (retrieve.folder / "output").exists()


def test_a_missing_source_is_named(retrieve):
    with pytest.raises(DataError, match=r"sales\.parquet"):
        retrieve(sales=None)
    assert not (retrieve.folder / "output").exists()


def test_a_source_without_a_feature_is_named(retrieve):
    with pytest.raises(DataError, match="price"):
        retrieve(sales=SALES.drop_columns("price"))


def test_a_missing_spine_names_the_tables_there_are(retrieve):
    with pytest.raises(DataError, match=r"no table 'exampels'; the tables are examples, sales"):
        retrieve(name="exampels")


def test_a_broken_spine_is_said_to_be_so(retrieve):
    retrieve()
    (retrieve.folder / "tables" / "examples.parquet").write_bytes(b"PAR1 broken")
    with pytest.raises(DataError, match="not whole Parquet"):
        call(retrieve.folder, retrieve.folder / "output")


def test_a_source_whose_pages_are_damaged_is_said_to_be_so(retrieve):
    rows = 50_000
    sales = pa.table(
        {"shop": ["a"] * rows, "event_timestamp": at(*range(rows)), "sold": range(rows), "price": [number * 1.1 for number in range(rows)]}
    )
    retrieve(sales=sales)
    path = retrieve.folder / "tables" / "sales.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:4] + b"\xff" * (len(content) // 2) + content[4 + len(content) // 2 :])
    with pytest.raises(DataError, match="features cannot be joined"):
        retrieve(sales=None)


def test_an_unknown_service_names_the_nearest(retrieve):
    with pytest.raises(ConfigurationError, match="did you mean 'stock'"):
        retrieve(service="stocks")


def test_a_feature_named_like_a_column_of_the_spine_is_refused(retrieve):
    with pytest.raises(ConfigurationError, match="sales:sold: there is a column of that name already"):
        retrieve(SPINE.append_column("sold", pa.array([0] * 5)))


def test_two_views_with_a_feature_of_one_name_are_refused(retrieve):
    twice = DEFINITIONS.replace(
        "stock = ",
        'more = FeatureView(name="more", entities=[shop], ttl=timedelta(hours=1), schema=schema, source=source)\nstock = ',
    ).replace("[sales])", "[sales, more])")
    with pytest.raises(ConfigurationError, match="sold"):
        retrieve(definitions=twice)


def test_the_settings_of_a_pipeline_parameter_are_taken(retrieve):
    assert retrieve(**json.loads('{"entity_key_serialization_version": 3.0, "project": "shops"}'))["test"].num_rows == 1


@pytest.mark.fault(
    "Stores", "a full disk under retrieve_features: the output's, or the temporary directory's", "the message names the disk that is full"
)
@pytest.mark.parametrize("full", ["output", "temporary"])
def test_the_disk_that_is_full_is_named(retrieve, small_disk, temporary, full):
    retrieve()
    if full == "temporary":
        # Room for the file by which Python tries a temporary directory, not for a registry.
        temporary(small_disk("temporary", 1, room=8192))
        with pytest.raises(
            MachineError, match=rf"output: no room left in {retrieve.folder}/temporary\S*: its disk, mounted at {retrieve.folder}/temporary, is full"
        ):
            retrieve()
        return
    disk = small_disk("small", 1, room=8192)
    rows = pa.table({"event_timestamp": at(*range(20_000)), "shop": [str(n) for n in range(20_000)], "split": ["train"] * 20_000})
    pq.write_table(rows, retrieve.folder / "tables" / "examples.parquet")
    with pytest.raises(MachineError, match=rf"{disk}/out: no room left in {disk}\S*: its disk, mounted at {disk}, is full"):
        call(retrieve.folder, disk / "out")
    assert [path.name for path in disk.iterdir()] == ["filling"]


@pytest.mark.fault("New data", "a feature source outside the tables, whose changes the cache does not see", "refused, unless its state is named")
@pytest.mark.parametrize("place", ["absolute path", "URI"])
def test_a_source_outside_the_tables_is_refused_unless_its_state_is_named(retrieve, place):
    elsewhere = retrieve.folder / "elsewhere.parquet"
    pq.write_table(SALES, elsewhere)
    where = str(elsewhere) if place == "absolute path" else elsewhere.as_uri()
    definitions = DEFINITIONS.replace("sales.parquet", where)
    with pytest.raises(ConfigurationError, match=r"the source 'sales' reads data outside the tables.*features\.data_version"):
        retrieve(definitions=definitions, sales=None)
    assert not (retrieve.folder / "output").exists()
    if place == "absolute path":
        inside = retrieve()
        assert retrieve(definitions=definitions, sales=None, data_version="2024-03-01") == inside


def test_two_views_may_share_a_source(retrieve):
    shared = DEFINITIONS.replace(
        "stock =", 'more = FeatureView(name="more", entities=[shop], schema=[Field(name="price", dtype=Float64)], source=source)\nstock ='
    )
    assert set(retrieve(definitions=shared)) == {"test", "train"}


def test_the_only_service_need_not_be_named(retrieve):
    assert retrieve(service="")["test"].column("sold").to_pylist() == [7]


def test_of_two_services_one_must_be_named(retrieve):
    with pytest.raises(ConfigurationError, match=r"it defines 2 feature services \(stock, more\); set `service` to one"):
        retrieve(service="", definitions=DEFINITIONS + 'more = FeatureService(name="more", features=[sales])\n')


def test_tables_of_anybody_are_read(retrieve):
    """CSV in place of Parquet, and a spine in folders of parts, without a manifest: the same rows."""
    expected = retrieve()
    tables = retrieve.folder / "tables"
    (tables / "sales.parquet").unlink()
    (tables / "sales.csv").write_text("shop,event_timestamp,sold,price\na,2024-03-01T00:00:00Z,7,1.5\nb,2024-03-01T00:00:00Z,8,\n")
    (tables / "examples.parquet").unlink()
    for part in ("train", "test", "none"):
        rows = SPINE.filter(pc.equal(SPINE.column("split"), part)).drop_columns("split")
        (tables / "examples" / f"split={part}").mkdir(parents=True)
        pq.write_table(rows, tables / "examples" / f"split={part}" / "0.parquet")
    call(retrieve.folder, retrieve.folder / "again")
    for part, rows in expected.items():
        assert pq.read_table(retrieve.folder / "again" / part).to_pylist() == rows.to_pylist()
