"""Bad input, as the person at the command line meets it: status 1, one sentence that helps, nothing half-written."""

import socket
import subprocess
import textwrap
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.timeout(300)
HEADER = "id,size,broken,at\n"
ROWS = [f"{n},{n % 17}.5,{n * 7 % 3 % 2},2024-01-{1 + n % 28:02d}T00:00:00Z" for n in range(400)]
GOOD = HEADER + "\n".join(ROWS) + "\n"

DEFINITIONS = """
from datetime import timedelta
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64

part = Entity(name="part", join_keys=["id"], value_type=ValueType.INT64)
sizes = FeatureView(name="sizes", entities=[part], ttl=timedelta(0), schema=[Field(name="size", dtype=Float64)],
                    source=FileSource(name="sizes", path="sizes.parquet", timestamp_field="event_timestamp"))
parts = FeatureService(name="parts", features=[sizes])
"""
SIZES = "SELECT id, TIMESTAMPTZ '2000-01-01 00:00:00+00' AS event_timestamp, size FROM parts"
EXAMPLES = 'SELECT id, "at" AS event_timestamp, broken, split FROM parts ORDER BY id'


@pytest.fixture
def place(tmp_path):
    """A small table with its own configuration and feature repository."""
    transforms = tmp_path / "features" / "transforms"
    transforms.mkdir(parents=True)
    (tmp_path / "features" / "definitions.py").write_text(textwrap.dedent(DEFINITIONS))
    (transforms / "10_sizes.sql").write_text(SIZES)
    (transforms / "20_examples.sql").write_text(EXAMPLES)
    (tmp_path / "parts.csv").write_text(GOOD)
    settings = {
        "title": "Parts",
        "data": {
            "sources": [{"name": "parts", "uri": "parts.csv", "columns": {"id": "int64", "size": "double", "broken": "int64"}}],
            "split_by": "hash",
            "split_column": "id",
            "split_parts": {"train": 0.6, "validation": 0.2, "test": 0.2},
        },
        "features": {"repository": "features", "service": "parts"},
        "validation": {"ignored": ["event_timestamp", "id"]},
        "name": "parts",
        "label": "broken",
    }
    (tmp_path / "parts.yaml").write_text(yaml.safe_dump(settings))
    return tmp_path


def edit(place: Path, change) -> None:
    settings = yaml.safe_load((place / "parts.yaml").read_text())
    change(settings)
    (place / "parts.yaml").write_text(yaml.safe_dump(settings))


def missing_file(place):
    (place / "parts.csv").unlink()


def empty_table(place):
    (place / "parts.csv").write_text(HEADER)


def no_row_in_a_part(place):
    windows = {"train": {"end": "2024-02-01T00:00:00Z"}, "validation": {"start": "2031-01-01T00:00:00Z"}}
    edit(place, lambda s: s["data"].update(split_by="time", split_column="at", split_parts=windows))


def truncated_parquet(place):
    (place / "parts.parquet").write_bytes(b"PAR1" + bytes(500))
    edit(place, lambda s: s["data"]["sources"][0].update(uri="parts.parquet"))


def renamed_column(place):
    (place / "parts.csv").write_text(GOOD.replace("broken", "brokken", 1))


def value_of_another_type(place):
    (place / "parts.csv").write_text(GOOD.replace("\n7,", "\nseven,", 1))


def not_utf8(place):
    (place / "parts.csv").write_bytes(GOOD.encode().replace(b"\n7,", b"\n7\xff,", 1))


def misspelt_key(place):
    edit(place, lambda s: s.update(lable=s.pop("label")))


def broken_sql(place):
    (place / "features" / "transforms" / "20_examples.sql").write_text(EXAMPLES.replace("broken", "brocken"))


def unknown_service(place):
    edit(place, lambda s: s["features"].update(service="prats"))


def label_of_one_class(place):
    (place / "parts.csv").write_text(HEADER + "\n".join(",".join([*row.split(",")[:2], "0", row.split(",")[3]]) for row in ROWS) + "\n")


def label_with_nulls(place):
    (place / "parts.csv").write_text(GOOD.replace("\n7,7.5,1,", "\n7,7.5,,", 1))


CASES = {
    missing_file: ["parts.csv", "no such file"],
    empty_table: ["parts.csv", "row"],
    no_row_in_a_part: ["validation", "row"],
    truncated_parquet: ["parts.parquet", "Parquet"],
    renamed_column: ["broken", "brokken"],
    value_of_another_type: ["seven", "id"],
    not_utf8: ["parts.csv", "utf-8", "encoding"],
    misspelt_key: ["lable", "did you mean 'label'"],
    broken_sql: ["20_examples.sql", "brocken"],
    unknown_service: ["prats", "parts"],
    label_of_one_class: ["broken", "train"],
    label_with_nulls: ["broken", "null"],
}


@pytest.mark.parametrize("spoil", CASES, ids=lambda each: each.__name__)
def test_bad_input_is_refused_in_a_sentence_and_leaves_nothing_half_written(spoil, place, workplace):
    spoil(place)
    done: subprocess.CompletedProcess[str] = workplace.intermodal("run", place / "parts.yaml", "--home", place / "home")
    assert done.returncode == 1, done.stdout + done.stderr
    for word in CASES[spoil]:
        assert word.lower() in done.stderr.lower(), done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not list((place / "home").rglob("*.partial"))
    assert not (place / "home" / "stores" / "mlflow.db").exists(), "nothing was registered"


@pytest.mark.fault("Stores", "a Redis online store that does not answer", "the run fails; no model is registered or served")
def test_an_online_store_that_is_not_there_keeps_the_model_from_being_registered_and_served(place, workplace):
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        store = {"registry": "{home}/stores/feast/registry.db", "online_store": {"type": "redis", "connection_string": address}}
        edit(place, lambda s: s["features"].update(store=store))
        done = workplace.intermodal("run", place / "parts.yaml", "--home", place / "home")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "materialize-features: online store: it cannot be reached" in done.stderr, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (place / "home" / "stores" / "mlflow.db").exists(), "nothing was registered"
    assert not list((place / "home").rglob("deployment.json")), "nothing serves"
