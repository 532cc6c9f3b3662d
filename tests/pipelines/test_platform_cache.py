"""Which tasks of the compiled pipeline run again, by the rule of a platform's cache (tests/backend/cache.py)."""

from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from intermodal.authoring.images import IMAGES
from intermodal.authoring.pipeline import load_job
from intermodal.compiler.build import set_images
from intermodal.compiler.specification import executor_of, graphs
from intermodal.runner.inputs import Values
from intermodal.submission.prepare import compile_for
from tests.backend.cache import Cache
from tests.backend.launcher import Backend

DIGESTS = {image: f"sha256:{number:064x}" for number, image in enumerate(IMAGES)}
NO_CHAMPION = {"version": "", "model_sha256": "", "reference": "", "judged": {}}
CHAMPION = {"version": "1", "model_sha256": "a" * 64, "reference": "1", "judged": {"w": ["a"]}}
TO_THE_TABLES = {"ingest-tables", "transform-tables", "retrieve-features"}
FROM_THE_CHAMPION = {"fetch-champion", "validate-data", "require-valid-data", "train-model", "evaluate-model", "gate-model"}
#: What touches something that outlives the run, and what tells of it.
ALWAYS = {"fingerprint-sources", "find-champion", "materialize-features", "register-model", "deploy-kserve", "promote-model", "render-report"}


@dataclass
class Rehearsal(Backend):
    """A run in which a task gives what it is told to, and writes nothing."""

    values: dict[str, dict[str, Any]] = field(default_factory=dict)

    def _container(self, name, component, container, given, handed):
        defined = component.get("outputDefinitions", {})
        artifacts = {key: self._output(name, key, each) for key, each in defined.get("artifacts", {}).items()}
        return Values({key: self.values[name][key] for key in defined.get("parameters", {})}, artifacts)


@pytest.fixture(scope="module")
def compiled():
    job = load_job(Path("pipelines/flights.yaml"), ["training.code=model_code", "training.model_function=model.py:build"])
    return compile_for("kubeflow", job, digests=DIGESTS)[0]


@pytest.fixture
def run(compiled):
    """Return a function that runs the pipeline once more and tells which tasks ran."""
    cache = Cache()

    def once(*, champion=CHAMPION, fingerprint="f", passed=True, digests=DIGESTS, change=lambda specification: None, **parameters):
        specification = deepcopy(compiled)
        set_images(specification, digests=digests)
        change(specification)
        declared = dict.fromkeys(specification["root"]["inputDefinitions"]["parameters"], "")
        values = {
            "find-champion": champion,
            "fingerprint-sources": {"Output": fingerprint},
            "gate-model": {"Output": passed},
            "validate-data": {"passed": True},
        }
        made = Rehearsal(specification, {}, None, "s3://pipelines/run", None, cache=cache, values=values)
        made.run(declared | {"features_repository": "s3://pipelines/sources/1", "training_code": "s3://pipelines/model/1"} | parameters)
        return made.ran

    return once


def test_the_first_run_runs_every_task(run):
    assert run(champion=NO_CHAMPION) == ALWAYS | TO_THE_TABLES | FROM_THE_CHAMPION


@pytest.mark.fault("New data", "a second run on the same data, code and champion, on a platform", "only the tasks that touch a store run again")
@pytest.mark.parametrize("champion", [NO_CHAMPION, CHAMPION], ids=["without a champion", "with one"])
def test_with_nothing_new_only_what_is_never_cached_runs_again(run, champion):
    run(champion=champion)
    assert run(champion=champion) == ALWAYS
    assert run(champion=champion, passed=False) == ALWAYS, "the gate's verdict came from the cache"


@pytest.mark.fault("New data", "another champion under the same alias", "everything that was compared with the old one runs again")
def test_another_champion_is_compared_with(run):
    run()
    for other in ({"version": "2"}, {"model_sha256": "b" * 64}, {"reference": "0"}, NO_CHAMPION):
        assert run(champion=CHAMPION | other) == ALWAYS | FROM_THE_CHAMPION
    assert run() == ALWAYS


@pytest.mark.parametrize(
    ("new", "again"),
    [
        ({"fingerprint": "g"}, TO_THE_TABLES | FROM_THE_CHAMPION - {"fetch-champion"}),
        ({"features_repository": "s3://pipelines/sources/2"}, TO_THE_TABLES - {"ingest-tables"} | FROM_THE_CHAMPION - {"fetch-champion"}),
        ({"training_code": "s3://pipelines/model/2"}, {"train-model", "evaluate-model", "gate-model"}),
        ({"gate_minimum": {"auc": 0.9}}, {"gate-model"}),
    ],
    ids=["data", "feature code", "model code", "rules"],
)
def test_what_is_new_runs_through(run, new, again):
    run()
    assert run(**new) == ALWAYS | again


@pytest.mark.fault("New data", "an image with other content", "its tasks run again, and what reads their outputs")
def test_another_image_runs_its_tasks(run):
    run()
    assert run(digests=DIGESTS | {"validate": f"sha256:{'e' * 64}"}) == ALWAYS | FROM_THE_CHAMPION - {"fetch-champion"}


def test_a_champion_that_were_fetched_anew_each_time_would_run_everything_after_it(run):
    """The rule that this file tests by tells the old fault."""

    def uncached(specification):
        specification["root"]["dag"]["tasks"]["fetch-champion"]["cachingOptions"] = {}

    run(change=uncached)
    assert run(change=uncached) == ALWAYS | FROM_THE_CHAMPION


@pytest.mark.parametrize("platform", ["kubeflow", "vertex"])
def test_every_task_of_ours_that_is_cached_is_named_by_digest(platform):
    specification, _ = compile_for(platform, load_job(Path("pipelines/flights.yaml")), digests=DIGESTS)
    cached = [
        executor_of(specification, task)["container"]["image"]
        for graph in graphs(specification)
        for task in graph["tasks"].values()
        if task.get("cachingOptions", {}).get("enableCache") and "container" in (executor_of(specification, task) or {})
    ]
    assert cached
    assert all("@sha256:" in image for image in cached)
