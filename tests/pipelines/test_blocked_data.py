"""Data that is not fit to train on: what was found out is kept, the run stops with it in words, and what comes after does not start."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import boto3
import pytest
import yaml
from kfp import dsl

from intermodal.compiler.build import compile_specification
from intermodal.compiler.specification import graphs
from intermodal.components.require_valid_data.component import require_valid_data
from intermodal.components.train_model.component import train_model
from intermodal.components.validate_data.component import validate_data
from intermodal.runner.local import LocalTarget
from intermodal.runtime.errors import TaskError
from tests.backend.launcher import Backend
from tests.servers.storage import s3_server

pytestmark = pytest.mark.timeout(600)
ROOT = Path(__file__).resolve().parents[2]
SENTENCE = "the data is not fit to train on, 1 anomaly: train: the label 'broken' is null or NaN in 1 of 60 rows; leave these rows out"


@dsl.pipeline(name="guarded")
def guarded(uri: str):
    examples = dsl.importer(artifact_uri=uri, artifact_class=dsl.Dataset)
    data = validate_data(examples=examples.output, label="broken")
    valid = require_valid_data(anomalies=data.outputs["anomalies"])
    train_model(examples=examples.output, label="broken").after(valid)


@pytest.fixture
def table(tmp_path):
    """Sixty rows, one without a label."""
    path = tmp_path / "rows.csv"
    path.write_text("size,broken\n" + "".join(f"{row % 7}.5,{'' if row == 5 else row % 2}\n" for row in range(60)))
    return path


@pytest.mark.fault(
    "New data", "a label is null; the run is repeated, with the verdict from the cache", "both runs fail with the anomaly; its page is there"
)
def test_the_local_run_stops_with_the_anomalies_even_when_the_verdict_is_cached(table, tmp_path):
    target = LocalTarget(tmp_path / "home")
    for turn in range(2):
        with pytest.raises(TaskError) as error:
            target.run(guarded, {"uri": str(table)}, identity=f"turn-{turn}")
        assert error.value.task == "require-valid-data"
        assert error.value.sentence == SENTENCE
    first, second = (tmp_path / "home" / "runs" / f"turn-{turn}" for turn in range(2))
    assert json.loads(next(first.glob("validate-data/**/anomalies.json")).read_text())["verdict"] == "blocked"
    assert next(first.glob("validate-data/**/view")).read_text().endswith("</html>\n")
    assert not list(second.glob("validate-data/**/anomalies.json")), "the second verdict is the first one's"
    assert not list(first.glob("train-model*/**/model")) + list(second.glob("train-model*/**/model"))


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("bwrap") is None, reason="needs root and bubblewrap, to run tasks as another user")
@pytest.mark.fault("Kubeflow", "a label is null", "the anomalies and the page are uploaded, the run fails, nothing is trained; again from the cache")
def test_on_the_backend_the_findings_are_uploaded_and_nothing_is_trained(table, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    tmp_path.chmod(0o755)
    (tmp_path / "s3").mkdir()
    with s3_server(tmp_path / "s3") as url:
        client = boto3.Session().client("s3", endpoint_url=url)
        client.create_bucket(Bucket="pipelines")
        client.upload_file(str(table), "pipelines", "rows.csv")
        run = Backend(compile_specification(guarded), {}, client, "s3://pipelines/first", tmp_path / "first")
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
            run = replace(run, root=f"s3://pipelines/{name}", folder=tmp_path / name, done={}, cached=set())
            with pytest.raises(TaskError, match=re.escape(SENTENCE)):
                run.run({"uri": "s3://pipelines/rows.csv"})
            assert set(run.done) == {"importer", "validate-data"}
            assert run.done["validate-data"]["passed"] is False
            assert run.cached == (set() if name == "first" else {"validate-data"})
        stored = {each["Key"] for each in client.list_objects_v2(Bucket="pipelines", Prefix="first/")["Contents"]}
    assert stored >= {f"first/validate-data/{name}" for name in ("anomalies/anomalies.json", "schema/schema.pbtxt", "statistics/train.pb", "view")}


def test_in_the_training_pipeline_nothing_that_trains_or_loads_features_starts_before_the_verdict():
    specification = next(yaml.safe_load_all((ROOT / "compiled" / "kubeflow" / "flights.yaml").read_text()))
    tasks = next(iter(graphs(specification)))["tasks"]

    def needed(name):
        direct = set(tasks[name].get("dependentTasks", []))
        return direct | {each for other in direct for each in needed(other)}

    after = {name for name in tasks if "require-valid-data" in needed(name)}
    before = {name for name in tasks if name not in after}
    assert before == {
        "importer",
        "find-champion",
        "fetch-champion",
        "fingerprint-sources",
        "ingest-tables",
        "transform-tables",
        "retrieve-features",
        "validate-data",
        "require-valid-data",
    }
