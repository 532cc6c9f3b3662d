"""Feature repositories read from a folder, the stores they are applied to, and what is read back online."""

import os
import uuid
from datetime import UTC, datetime, timedelta
from textwrap import dedent
from urllib.parse import urlsplit

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis

from intermodal.components.materialize_features.logic import materialize_features
from intermodal.features.store import FeatureRepository, open_store, read_online
from intermodal.runtime.errors import ConfigurationError, StoreError

START = datetime(2024, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DEFINITIONS = """
    from datetime import timedelta
    from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
    from feast.types import Float64, Int64

    shop = Entity(name="shop", join_keys=["shop"], value_type=ValueType.STRING)

    def view(name, ttl, **features):
        source = FileSource(name=name, path=f"{name}.parquet", timestamp_field="event_timestamp")
        schema = [Field(name=each, dtype=kind) for each, kind in features.items()]
        return FeatureView(name=name, entities=[shop], ttl=ttl, schema=schema, source=source)

    views = [view("sales", timedelta(hours=1), sold=Int64, price=Float64), view("places", timedelta(0), floor=Int64)]
    stock = FeatureService(name="stock", features=views)
"""


def write(folder, sales=((0, 7), (2, 9))):
    """Write the sources: shop a sells at the hours and in the numbers given, b at hour 0; both are places from the year 2000."""
    folder.mkdir(exist_ok=True)
    hours, sold = zip(*sales, (0, 5), strict=True)
    table = {
        "shop": ["a"] * len(sales) + ["b"],
        "event_timestamp": pa.array([START + hour * HOUR for hour in hours], pa.timestamp("us", "UTC")),
        "sold": pa.array(sold, pa.int64()),
        "price": pa.array([number / 2 for number in sold], pa.float64()),
    }
    pq.write_table(pa.table(table), folder / "sales.parquet")
    since = pa.array([datetime(2000, 1, 1, tzinfo=UTC)] * 2, pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"shop": ["a", "b"], "event_timestamp": since, "floor": [1, 2]}), folder / "places.parquet")
    return folder


@pytest.fixture
def define(tmp_path):
    """Write Python files, and read them as a repository."""

    def read(**files):
        folder = tmp_path / "repository"
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            (folder / f"{name}.py").write_text(dedent(text))
        return FeatureRepository(folder, tmp_path / "tables")

    return read


def test_views_in_lists_are_found_and_relative_sources_start_from_the_tables(define, tmp_path):
    repository = define(definitions=DEFINITIONS)
    assert {view.name: view.batch_source.file_options.uri for view in repository.views} == {
        name: f"{tmp_path}/tables/{name}.parquet" for name in ("sales", "places")
    }
    assert repository.service("stock").name == "stock"


def test_tables_may_be_given_relative_to_the_working_directory(define, tmp_path, monkeypatch):
    define(definitions=DEFINITIONS)
    monkeypatch.chdir(tmp_path)
    repository = FeatureRepository(tmp_path / "repository", "tables")
    assert repository.views[0].batch_source.file_options.uri.startswith(f"{tmp_path}/tables/")


@pytest.mark.parametrize("uri", ["/data/sales.parquet", "gs://bucket/sales.parquet", "s3://bucket/sales.parquet"])
def test_absolute_sources_stay_where_they_are(define, uri):
    repository = define(definitions=DEFINITIONS.replace('f"{name}.parquet"', repr(uri)))
    assert {view.batch_source.file_options.uri for view in repository.views} == {uri}


def test_files_import_each_other_and_leave_no_trace(define, tmp_path):
    import sys

    before, path = set(sys.modules), list(sys.path)
    parts = DEFINITIONS.split("    views = ")
    repository = define(base_of_test=parts[0], definitions="from base_of_test import *\nviews = " + parts[1].replace("\n    ", "\n"))
    assert {view.name for view in repository.views} == {"sales", "places"}
    assert "base_of_test" not in set(sys.modules) - before
    assert sys.path == path
    assert [file.name for file in (tmp_path / "repository").iterdir() if file.suffix != ".py"] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\n\ny = 1 / 0\n", r"definitions\.py, line 3: ZeroDivisionError"),
        ("x = 1\ny = (\n", r"definitions\.py, line 2: SyntaxError"),
        ("import no_such_module_of_ours\n", r"definitions\.py, line 1: ModuleNotFoundError.*no_such_module_of_ours"),
        ("from feast import Entity\nEntity()\n", r"definitions\.py, line 2: TypeError"),
        ("x = 1\n", "no feature view is defined"),
        ("import sys\n\nsys.exit(0)\n", r"definitions\.py, line 3: it calls sys\.exit\(0\)"),
        ("raise SystemExit\n", r"definitions\.py, line 1: it calls sys\.exit\(\)"),
    ],
)
def test_an_error_in_a_definition_names_its_file_and_line(define, text, words):
    with pytest.raises(ConfigurationError, match=words):
        define(definitions=text)


def test_an_unknown_service_names_the_nearest(define):
    repository = define(definitions=DEFINITIONS)
    with pytest.raises(ConfigurationError, match=r"no feature service 'stok'; did you mean 'stock'\?"):
        repository.service("stok")
    with pytest.raises(ConfigurationError, match="there are stock"):
        repository.service("qqqqqq")


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"online_stroe": {}}, "online_stroe"),
        ({"online_store": {"type": "sqlite", "pathh": "x"}}, "pathh"),
        ({"offline_store": {"type": "no.such.Store"}}, "no.such"),
        ({"online_store": {"type": "no-such"}}, "no-such"),
        ({"project": "has a space"}, "has a space"),
    ],
)
def test_settings_that_are_refused_name_the_key(settings, key, tmp_path):
    with pytest.raises(ConfigurationError, match=key):
        open_store({"project": "test", "registry": str(tmp_path / "registry.db")} | settings, tmp_path)


def test_whole_numbers_of_a_pipeline_parameter_are_integers_again(tmp_path):
    settings = {
        "project": "test",
        "registry": {"path": str(tmp_path / "registry.db"), "cache_ttl_seconds": 5.0},
        "entity_key_serialization_version": 3.0,
    }
    store = open_store(settings, tmp_path)
    assert (store.config.registry.cache_ttl_seconds, store.config.entity_key_serialization_version) == (5, 3)


def test_a_variable_of_the_environment_stands_in_a_setting(tmp_path, monkeypatch):
    monkeypatch.setenv("FEAST_FOLDER", str(tmp_path))
    store = open_store({"project": "test", "registry": "${FEAST_FOLDER}/registry.db"}, tmp_path)
    assert store.config.registry.path == f"{tmp_path}/registry.db"


def test_a_variable_that_is_not_set_is_named_with_its_setting(tmp_path, monkeypatch):
    monkeypatch.delenv("FEAST_PASSWORD", raising=False)
    with pytest.raises(ConfigurationError, match=r"store\.registry\.path: the variable FEAST_PASSWORD is not set"):
        open_store({"project": "test", "registry": {"registry_type": "sql", "path": "postgresql://feast:${FEAST_PASSWORD}@host/db"}}, tmp_path)


def test_what_a_variable_holds_is_in_no_message(tmp_path, monkeypatch):
    monkeypatch.setenv("FEAST_PASSWORD", "hunter2")
    with pytest.raises(ConfigurationError) as caught:
        open_store({"project": "test", "registry": {"registry_type": "${FEAST_PASSWORD}"}}, tmp_path)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.fixture
def loaded(define, tmp_path):
    """Materialise the sources into a store of the given settings, and return the store and the service."""

    def load(tables=None, **settings):
        repository = define(definitions=DEFINITIONS)
        tables = tables or write(tmp_path / "tables")
        defaults = {"project": "test", "registry": str(tmp_path / "registry.db")}
        settings = defaults | settings
        materialize_features(
            tables_path=str(tables),
            tables_uri="file://tables",
            repository_path=str(repository.path),
            store=settings,
            service="",
            filter_by_created_timestamp=True,
            materialization_path=str(tmp_path / "materialization"),
        )
        return open_store(settings, repository.path), repository.service("stock")

    return load


def sqlite_store(tmp_path):
    return {"type": "sqlite", "path": str(tmp_path / "online.db")}


@pytest.fixture(params=["sqlite", "redis"])
def online(request, tmp_path):
    """The settings of an online store that is empty, and is emptied afterwards."""
    if request.param == "sqlite":
        yield {"online_store": sqlite_store(tmp_path)}
        return
    address = os.environ.get("INTERMODAL_TEST_REDIS")
    if not address:
        pytest.skip("INTERMODAL_TEST_REDIS=host:port is not set; no Redis runs on a plain machine")
    project = f"test_{uuid.uuid4().hex[:8]}"
    yield {"project": project, "online_store": {"type": "redis", "connection_string": address}}
    host, _, port = address.partition(":")
    client = redis.Redis(host=host, port=int(port), socket_timeout=5)
    for key in client.scan_iter(f"*{project}"):
        client.delete(key)


def test_values_past_their_ttl_are_masked_online(loaded, online):
    store, service = loaded(**online)
    entities = [{"shop": "a"}, {"shop": "b"}, {"shop": "c"}]
    raw = store.get_online_features(features=service, entity_rows=entities).to_dict()
    assert raw["sold"][0] == 9, "Feast gives it whatever its age"
    fresh, stale = read_online(store, service, entities, START + 3 * HOUR), read_online(store, service, entities, START + 3.01 * HOUR)
    assert fresh[0] == {"shop": "a", "sold": 9, "price": 4.5, "floor": 1}
    assert stale[0] == {"shop": "a", "sold": None, "price": None, "floor": 1}
    assert fresh[1] == stale[1] == {"shop": "b", "sold": None, "price": None, "floor": 2}
    assert fresh[2] == {"shop": "c", "sold": None, "price": None, "floor": None}
    assert read_online(store, service, entities)[0] == stale[0], "as of now where no moment is given"
    assert read_online(store, service, []) == []


def test_what_is_read_online_is_what_is_retrieved_for_that_moment(loaded, online):
    import pandas as pd

    store, service = loaded(**online)
    for hours in (2, 2.5, 3, 3.5):
        moment = START + hours * HOUR
        frame = pd.DataFrame({"shop": ["a", "b", "c"], "event_timestamp": [moment] * 3})
        offline = store.get_historical_features(entity_df=frame, features=service).to_arrow().drop_columns("event_timestamp").to_pylist()
        assert read_online(store, service, [{"shop": shop} for shop in "abc"], moment) == offline


def test_newer_values_replace_older_ones(loaded, online, tmp_path):
    loaded(**online)
    store, service = loaded(write(tmp_path / "later", sales=((0, 7), (2, 9), (5, 11))), **online)
    assert read_online(store, service, [{"shop": "a"}], START + 5 * HOUR)[0]["sold"] == 11


def test_a_store_without_the_views_says_so(define, tmp_path):
    repository = define(definitions=DEFINITIONS)
    store = open_store({"project": "test", "registry": str(tmp_path / "registry.db"), "online_store": sqlite_store(tmp_path)}, tmp_path)
    with pytest.raises(StoreError, match=r"feature service 'stock'; run materialize_features"):
        read_online(store, repository.service("stock"), [{"shop": "a"}])


def test_a_redis_that_does_not_answer_is_said_so(loaded, tmp_path):
    with pytest.raises(StoreError, match="online store: it cannot be reached"):
        loaded(online_store={"type": "redis", "connection_string": "127.0.0.1:9"})
    assert not (tmp_path / "materialization").exists()


@pytest.mark.skipif("INTERMODAL_TEST_POSTGRES" not in os.environ, reason="INTERMODAL_TEST_POSTGRES is not set; no PostgreSQL runs on a plain machine")
def test_a_registry_in_postgresql_outlives_the_store(loaded, tmp_path):
    server = os.environ["INTERMODAL_TEST_POSTGRES"]
    name = f"test_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server, autocommit=True, connect_timeout=5) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            uri = urlsplit(server)._replace(scheme="postgresql+psycopg", path=f"/{name}").geturl()
            settings = {"registry": {"registry_type": "sql", "path": uri, "cache_ttl_seconds": 60.0}, "online_store": sqlite_store(tmp_path)}
            loaded(**settings)
            store, service = loaded(**settings)
            assert {view.name for view in store.list_feature_views()} == {"sales", "places"}
            assert read_online(store, service, [{"shop": "a"}], START + 2 * HOUR)[0]["sold"] == 9
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_registry_that_cannot_be_reached_is_said_so(tmp_path):
    settings = {"project": "test", "registry": {"registry_type": "sql", "path": "postgresql+psycopg://nobody@127.0.0.1:9/none"}}
    with pytest.raises(StoreError, match="registry"):
        open_store(settings, tmp_path)
