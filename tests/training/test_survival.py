"""Trainings that are killed, by real processes: they end with the weights of the undisturbed one, bit by bit, and see the rows that it saw.

Long form: INTERMODAL_KILLS=20 (default: 3).
"""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import boto3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.servers.storage import s3_server
from tests.training import attempts

pytestmark = pytest.mark.timeout(1800)
KILLS = int(os.environ.get("INTERMODAL_KILLS", "3"))
ROWS, BATCH, EPOCHS = 2_000, 64, 4
STEPS = EPOCHS * -(-ROWS // BATCH)


#: Metrics that are times, or shares of them.
MEASURED = ("seconds", "rows_per_second", "input_wait", "cpu_utilisation", "slowest_worker", "slowest_worker_ratio")


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    for seed, (part, count) in enumerate({"train": ROWS, "validation": 500, "test": 100}.items()):
        generator = np.random.default_rng(seed)
        x, color = generator.normal(5, 2, count), generator.choice(["red", "green", "blue"], count)
        y = (generator.random(count) < 1 / (1 + np.exp(-(x - 5) - (color == "red")))).astype(int)
        (folder / part).mkdir()
        pq.write_table(pa.table({"x": x, "color": color, "y": y}), folder / part / "0.parquet", row_group_size=200)
    return folder


@pytest.fixture(scope="module")
def arguments(examples, defaults):
    """Arguments of a small training, with its outputs and checkpoints below a folder."""

    def make(folder, **given):
        outputs = {f"{each}_path": str(folder / each) for each in ("model", "training", "metrics", "curves")}
        inputs = {"examples_path": str(examples), "label": "y", "schema_path": None, "statistics_path": None, "code_path": None, "tuned_path": None}
        small = {"epochs": EPOCHS, "patience": EPOCHS, "batch_size": BATCH, "hidden_units": [16], "learning_rate": 0.01, "seed": 7}
        often = {"checkpoints": str(folder / "checkpoints"), "checkpoint_steps": 7}
        return {**defaults, **inputs, **outputs, **small, **often, **given}

    return make


@pytest.fixture(scope="module")
def defaults(defaults_of):
    return {key: value for key, value in defaults_of("train_model").items() if key not in ("schema", "statistics", "code", "tuned")}


@pytest.fixture(scope="module")
def undisturbed(arguments, tmp_path_factory):
    """Run a training without a disturbance, once for the same settings; return it and its folder."""
    found = {}

    def make(workers, **given):
        key = json.dumps([workers, given])
        if key not in found:
            folder = tmp_path_factory.mktemp("undisturbed")
            attempt = attempts.start(arguments(folder, **given), folder, "all", workers=workers)
            assert attempt.end() == [0] * workers, attempt.log()
            assert len(attempt.rows(0)) == STEPS
            assert len(set(attempt.rows(0))) == STEPS  # no two steps have the same rows, so a hash says which step it is
            found[key] = attempt
        return found[key]

    return make


def result(attempt):
    """Return all of a finished training that does not tell the time."""
    files = {name: (attempt.folder / name).read_bytes() for name in ("training/history.json",)}
    variables = next((attempt.folder / "model" / "variables").glob("*.data-*")).read_bytes()
    outcome = attempt.outcome()
    metrics = {name: value for name, value in outcome["metrics"].items() if name not in MEASURED}
    return outcome["model"]["weights_sha256"], metrics, variables, files


def saw_the_rows_of(attempt, whole):
    """Whether every worker saw, from the step that it went on from, the rows that the undisturbed training saw."""
    return all(whole.rows(worker)[attempt.first :][: len(rows)] == rows for worker in range(len(attempt.names)) if (rows := attempt.rows(worker)))


def checkpoints_in(folder):
    return sorted((folder / "checkpoints").glob("step-*.npz"))


@pytest.mark.fault(
    "Training", "kill -9 of the only worker at random steps", "the final model is the undisturbed one's, bit by bit; no row is seen twice or left out"
)
@pytest.mark.parametrize("steps_per_execution", [3])
def test_one_worker_that_is_killed_at_random_steps_ends_with_the_undisturbed_model(
    steps_per_execution, arguments, undisturbed, tmp_path, fault_random
):
    whole = undisturbed(1, steps_per_execution=steps_per_execution, dropout=0.2)
    given = arguments(tmp_path, steps_per_execution=steps_per_execution, dropout=0.2)
    went_on = 0
    for number, step in enumerate(sorted(fault_random.randrange(1, STEPS) for _ in range(KILLS))):
        attempt = attempts.start(given, tmp_path, f"killed-{number}")
        attempt.wait_for(step)
        time.sleep(fault_random.random() * 0.005)
        attempt.kill()
        assert attempt.first >= went_on
        went_on = attempt.first
        assert saw_the_rows_of(attempt, whole)
        assert not (tmp_path / "model").exists()
    last = attempts.start(given, tmp_path, "last")
    assert last.end() == [0], last.log()
    assert last.first > 0
    assert saw_the_rows_of(last, whole)
    assert last.first + len(last.rows(0)) == STEPS
    assert result(last) == result(whole)
    assert len(checkpoints_in(tmp_path)) == given["checkpoints_kept"]


@pytest.mark.fault("Training", "kill -9 of any of two workers or of both, SIGTERM of one", "the final model is the undisturbed one's, bit by bit")
def test_two_workers_that_are_lost_one_by_one_or_together_end_with_the_undisturbed_model(arguments, undisturbed, tmp_path, fault_random):
    whole = undisturbed(2, dropout=0.0, checkpoints_kept=99)
    given = arguments(tmp_path, dropout=0.0)
    disturbances = [("all", signal.SIGKILL), (fault_random.randrange(2), signal.SIGKILL), (1, signal.SIGTERM)]
    for number, step in enumerate(sorted(fault_random.randrange(1, STEPS) for _ in range(KILLS))):
        attempt = attempts.start(given, tmp_path, f"killed-{number}", workers=2)
        attempt.wait_for(step)
        victim, kind = disturbances[number % 3]
        if victim != "all":
            attempt.send(victim, kind)
            if kind is signal.SIGTERM:  # a spot node: all stop after the same step
                assert attempt.end() in ([143, 143], [0, 0]), attempt.log() + attempt.log(1)
                last = checkpoints_in(tmp_path)[-1]
                if attempt.end() == [143, 143]:  # not the chief's signal: the chief writes all the same, after the last step that it made
                    assert last.name.startswith(f"step-{attempt.first + len(attempt.rows(0)):08d}-")
                    assert f"stopped by SIGTERM; the last checkpoint is {last}, and" in attempt.log()
            else:
                attempt.workers[victim].join(60)
        attempt.kill()
        assert saw_the_rows_of(attempt, whole)
    last = attempts.start(given, tmp_path, "last", workers=2)
    assert last.end() == [0, 0], last.log()
    assert last.first > 0
    assert saw_the_rows_of(last, whole)
    assert result(last) == result(whole)


@pytest.mark.fault(
    "Training", "SIGTERM of a spot node, then its last checkpoint is damaged", "one last checkpoint, status 143; the one before is taken"
)
def test_sigterm_writes_one_last_checkpoint_to_the_store_and_a_damaged_one_is_passed_over(arguments, undisturbed, tmp_path, fault_random):
    whole = undisturbed(1, steps_per_execution=3, dropout=0.2)
    with s3_server(tmp_path) as url:
        credentials = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL_S3": url}
        client = boto3.client("s3", endpoint_url=url, aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")
        client.create_bucket(Bucket="trainings")

        def keys():
            return sorted(each["Key"] for each in client.list_objects_v2(Bucket="trainings").get("Contents", []))

        given = arguments(tmp_path, steps_per_execution=3, dropout=0.2, checkpoints="s3://trainings/run-1/checkpoints")
        attempt = attempts.start(given, tmp_path, "stopped", environment=credentials)
        attempt.wait_for(fault_random.randrange(20, STEPS - 20))
        attempt.send(0, signal.SIGTERM)
        assert attempt.end() == [143], attempt.log()
        made = len(attempt.rows(0))
        *_, before, last = keys()
        assert last.startswith(f"run-1/checkpoints/step-{made:08d}-")
        assert f"stopped by SIGTERM; the last checkpoint is s3://trainings/{last}, and" in attempt.log()

        content = client.get_object(Bucket="trainings", Key=last)["Body"].read()
        client.put_object(Bucket="trainings", Key=last, Body=content[:-100])
        resumed = attempts.start(given, tmp_path, "resumed", environment=credentials)
        assert resumed.end() == [0], resumed.log()
        assert f"{Path(last).name}: this checkpoint is passed over" in resumed.log()
        assert f"training goes on after step {resumed.first}, from s3://trainings/{before}" in resumed.log()
        assert 0 < resumed.first < made
        assert saw_the_rows_of(resumed, whole)
        assert result(resumed) == result(whole)


def test_a_training_that_loses_a_worker_for_good_goes_on_with_one(arguments, undisturbed, tmp_path):
    whole = undisturbed(2, dropout=0.0, checkpoints_kept=99)
    given = arguments(tmp_path, dropout=0.0)
    # As two workers left it when one was lost for good, half way.
    before = checkpoints_in(whole.folder)
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(before[len(before) // 2], tmp_path / "checkpoints")
    alone = attempts.start(given, tmp_path, "one")
    assert alone.end() == [0], alone.log()
    assert STEPS // 4 < alone.first < STEPS * 3 // 4
    assert "workers is 1 here and 2 there: the result is the same within rounding, not bit by bit" in alone.log()
    for name, value in result(whole)[1].items():
        assert result(alone)[1][name] == pytest.approx(value, rel=1e-4), name
