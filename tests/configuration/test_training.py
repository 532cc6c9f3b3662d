"""Configuration: what is wrong is said with its line, and with the key that was meant."""

import copy
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from intermodal.authoring.pipeline import Job, load_job
from intermodal.compiler.build import compile_specification
from intermodal.components.find_champion.component import find_champion
from intermodal.configuration.loading import read_values, validated
from intermodal.configuration.sections import Configuration, Place
from intermodal.configuration.wiring import pipeline_parameters
from intermodal.pipelines.training.configuration import TrainingConfiguration
from intermodal.runtime.errors import ConfigurationError, IntermodalError

FLIGHTS = Path(__file__).resolve().parents[2] / "pipelines" / "flights.yaml"


@pytest.fixture
def edited(tmp_path):
    def edit(old: str, new: str) -> Path:
        text = FLIGHTS.read_text()
        assert old in text
        path = tmp_path / "edited.yaml"
        path.write_text(text.replace(old, new, 1))
        return path

    return edit


def test_the_shipped_configuration_is_valid():
    settings = load_job(FLIGHTS).settings
    assert isinstance(settings, TrainingConfiguration)
    assert settings.name == "flight-delay"
    assert set(settings.data.split_parts) == {"train", "validation", "test"}


def test_times_need_no_quotes_and_are_checked_like_the_component_does(edited):
    quoted = load_job(FLIGHTS).settings.data.split_parts
    plain = load_job(edited('train: { end: "2013-09-01T04:00:00Z" }', "train: { end: 2013-09-01T00:00:00-04:00 }")).settings.data.split_parts
    assert datetime.fromisoformat(plain["train"]["end"]) == datetime.fromisoformat(quoted["train"]["end"])
    rolling = edited('test: { start: "2013-10-01T04:00:00Z" }', "test: { start: -3 days }\n  split_end: 2014-01-01T00:00:00Z\n  split_step: 1 week")
    assert load_job(rolling).settings.data.split_parts["test"] == {"start": "-3 days"}
    with pytest.raises(ConfigurationError, match=r"line \d+: data\.split_parts\.test: '?start -3 moons'?: there is no unit 'moons'"):
        load_job(edited('start: "2013-10-01T04:00:00Z"', "start: -3 moons"))
    with pytest.raises(ConfigurationError, match=r"data\.split_parts\.test: start '2013-10-01' has no time zone; write 2013-10-01T00:00:00Z for UTC"):
        load_job(edited('start: "2013-10-01T04:00:00Z"', "start: 2013-10-01"))


def test_a_misspelt_key_names_the_line_and_the_key_that_was_meant(edited):
    path = edited("maximum:", "maximun:")
    line = next(number for number, text in enumerate(path.read_text().splitlines(), 1) if "maximun" in text)
    with pytest.raises(ConfigurationError, match=rf"line {line}: gate\.maximun: there is no such key; did you mean 'maximum'\?"):
        load_job(path)


def test_a_misspelt_section_names_the_section_that_was_meant(edited):
    with pytest.raises(ConfigurationError, match=r"evaluaton: there is no such key; did you mean 'evaluation'\?"):
        load_job(edited("evaluation:", "evaluaton:"))


def test_a_misspelt_key_of_a_source_names_its_place_in_the_list(edited):
    with pytest.raises(ConfigurationError, match=r"data\.sources\.0\.colums: there is no such key; did you mean 'columns'\?"):
        load_job(edited("      columns:", "      colums:"))


def test_a_missing_key_is_named(edited):
    with pytest.raises(ConfigurationError, match=r"label: this key is required"):
        load_job(edited("label: late\n", ""))


def test_a_value_of_the_wrong_type_is_shown(edited):
    with pytest.raises(ConfigurationError, match=r"serving\.local\.port: .*'eighty'"):
        load_job(edited("port: 8080", "port: eighty"))


def test_every_problem_is_told_at_once(edited, tmp_path):
    path = edited("port: 8080", "port: 0")
    path.write_text(path.read_text().replace("seed: 2013", "sead: 2013"))
    with pytest.raises(ConfigurationError, match=r"(?s)sead.*serving\.local\.port|serving\.local\.port.*sead"):
        load_job(path)


def test_a_model_function_needs_its_code():
    with pytest.raises(ConfigurationError, match=r"line \d+: training: model_function needs the folder of its file: give it as `code`$"):
        load_job(FLIGHTS, ["training.model_function=model.py:build"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("model: { name: x }", "model.name: this key is now name;"),
        ("model: { hyperparameters: { epochs: 3 } }", "model.hyperparameters: this key is now"),
        ("stores: { model_registry: x }", "stores.model_registry: this key is now registry;"),
        ("stores: { deployments: x }", "serving.kubeflow.namespace"),
    ],
)
def test_an_old_key_names_the_new_one(tmp_path, old, new):
    path = tmp_path / "old.yaml"
    path.write_text(FLIGHTS.read_text() + old + "\n")
    with pytest.raises(ConfigurationError) as refused:
        load_job(path)
    assert str(refused.value).startswith(f"{path}, line {len(path.read_text().splitlines())}: ")
    assert new in str(refused.value)


def test_an_old_key_of_a_section_that_is_still_there_names_the_new_one(edited):
    with pytest.raises(ConfigurationError, match=r"line \d+: serving\.port: this key is now serving\.local\.port; rename it"):
        load_job(edited("local: { port: 8080 }", "port: 8080"))


def test_a_value_out_of_range_is_refused_by_the_components_own_check(edited):
    with pytest.raises(ConfigurationError, match=r"line \d+: gate\.confidence: .*1\.5"):
        load_job(FLIGHTS, ["gate.confidence=1.5"])


@pytest.mark.parametrize(
    ("registry", "said"),
    [
        ("mlflow.db", "'mlflow.db' must be sqlite:////path/to/file.db, or the http(s):// address of an MLflow server"),
        ("https://${USER}@mlflow.example", "${NAME} is a variable only in features.store; MLflow reads MLFLOW_TRACKING_USERNAME"),
    ],
)
def test_a_registry_that_mlflow_does_not_take_is_refused_on_loading_with_its_line(edited, registry, said):
    path = edited("label: late\n", f"label: late\nregistry: {registry}\n")
    line = next(number for number, text in enumerate(path.read_text().splitlines(), 1) if text.startswith("registry"))
    with pytest.raises(ConfigurationError) as refused:
        load_job(path)
    assert str(refused.value).startswith(f"{path}, line {line}: registry: ")
    assert said in str(refused.value)


def test_a_name_that_no_server_takes_is_refused_on_loading_with_its_line(edited):
    with pytest.raises(ConfigurationError, match=r"edited\.yaml, line 3: name: 'flight-': use lowercase letters, digits and hyphens"):
        load_job(edited("name: flight-delay", "name: flight-"))


def test_a_configuration_names_the_components_that_check_its_keys_at_the_top(tmp_path):
    """A user's own pipeline without a section for the component."""

    class Own(Configuration):
        checked_by = (find_champion,)
        registry: str

    with pytest.raises(ConfigurationError, match=r"own\.yaml, line 2: registry: 'x' must be sqlite"):
        validated(read_values(written(tmp_path / "own.yaml", "name: own\nregistry: x\n")), Own)


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"absent\.yaml: no such file"):
        load_job(tmp_path / "absent.yaml")


def test_text_that_is_not_yaml_is_refused(tmp_path):
    (tmp_path / "broken.yaml").write_text("a: [1,")
    with pytest.raises(ConfigurationError, match="not YAML"):
        load_job(tmp_path / "broken.yaml")


def test_bytes_that_are_not_utf8_are_refused(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"title: caf\xe9")
    with pytest.raises(ConfigurationError, match="not UTF-8 text at byte 10"):
        load_job(tmp_path / "latin.yaml")


def test_overrides_reach_deep_keys_and_are_checked():
    assert load_job(FLIGHTS, ["gate.minimum.auc=0.9"]).settings.gate.minimum == {"auc": 0.9}
    with pytest.raises(ConfigurationError, match=r"did you mean 'confidence'"):
        load_job(FLIGHTS, ["gate.confidense=1"])
    with pytest.raises(ConfigurationError, match="expected KEY=VALUE"):
        load_job(FLIGHTS, ["gate"])


def local_arguments(job: Job, home: Path) -> dict[str, Any]:
    return job.arguments("local", Place(job.base, folder=str, source=lambda path, pattern: str(path / pattern), home=lambda key: str(home)))


def test_stores_are_below_the_home_that_is_named(tmp_path):
    arguments = local_arguments(load_job(FLIGHTS), tmp_path)
    assert arguments["registry"] == f"sqlite:///{tmp_path}/stores/mlflow.db"
    assert arguments["features_store"]["online_store"]["path"].startswith(str(tmp_path))
    assert "{home}" not in str(arguments)


def test_arguments_fit_the_pipeline(tmp_path):
    job = load_job(FLIGHTS)
    inputs, given = job.wire("local").component_spec.inputs, set(local_arguments(job, tmp_path))
    assert {name for name, each in inputs.items() if not each.optional} <= given <= set(inputs)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_whatever_a_file_holds_it_is_valid_or_refused_in_words(value):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any.yaml"
        path.write_text(yaml.safe_dump(value, allow_unicode=True), encoding="utf-8")
        try:
            assert isinstance(load_job(path).settings, TrainingConfiguration)
        except ConfigurationError as error:
            assert str(path) in str(error)


HOSTILE = [
    *("", "\0", "a\0b", "**.csv", "[", "***", "package:", "package:.x", "package:a.b/c", "package:json/../x", "~", ".", "..", "//", "/dev/null"),
    *(
        "gs://",
        "s3://[x",
        "http://[::1",
        "file:///x",
        "a" * 5000,
        "{home}",
        "{",
        "{0}",
        "%s",
        "x:\n",
        "2024-13-01",
        "é\u202e",
        "!!python/name:os.system",
    ),
    *(None, True, -1, 10**400, float("nan"), float("inf"), [], {}, [[]], {"a": {}}, {1: 2}, {"": ""}, [None], {"train": None}),
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value of a configuration."""
    if path:
        yield path
    for key, each in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(each, (*path, key))


@pytest.mark.fault(
    "Wrong input",
    "a hostile value in place of any key of a configuration: NUL, `**.csv`, `package:.x`, broken URIs, wrong types",
    "accepted, or one sentence with the file's name",
)
def test_a_hostile_value_anywhere_is_accepted_or_refused_in_words(tmp_path, fault_random):
    whole = yaml.safe_load(FLIGHTS.read_text())
    whole |= {"registry": "sqlite:///x.db", "pipeline": "training"}
    whole["serving"]["local"]["deployments"] = "x"
    whole["features"]["store"] = {"registry": "x", "online_store": {"type": "sqlite"}}
    whole["data"]["sources"][0] |= {"encoding": "x", "time_zone": "x", "row_number": "x"}
    path = tmp_path / "edited.yaml"
    for place in places(whole):
        for value in fault_random.sample(HOSTILE, 8):
            edited = copy.deepcopy(whole)
            section = edited
            for key in place[:-1]:
                section = section[key]
            section[place[-1]] = value
            path.write_text(yaml.safe_dump(edited, allow_unicode=True), encoding="utf-8")
            try:
                local_arguments(load_job(path), tmp_path)
            except IntermodalError as error:
                assert "\n" not in str(error) or all(str(path) in line for line in str(error).splitlines())


@pytest.mark.parametrize(
    "override",
    [
        *("", "=", "=1", ".=1", "a..b=1", "title.x=1", "data.sources.0.uri=x", "gate.minimum=[", "gate.minimum.auc={{", "title=a\0", "gate.=1"),
        *("title=!!python/object:os.system x", "training.hyperparameters=" + "[" * 5000, "title=&a *a", "seed=1e400", "title=2024-99-99"),
    ],
)
def test_a_broken_override_is_refused_in_words(override):
    with pytest.raises(ConfigurationError, match=r"--set|flights\.yaml, line \d+"):
        load_job(FLIGHTS, [override])


def test_a_nul_is_refused_with_its_place(edited):
    with pytest.raises(ConfigurationError, match=r"line \d+: label: it has a NUL character; remove it"):
        load_job(edited("label: late", 'label: "la\\0te"'))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("gate.confidence=95", "gate.confidence: 95.0 must be above 0.5 and below 1"),
        ("gate.maximum.brierr=0.2", "gate.maximum.brierr"),
        ("validation.skew=2", "validation.skew: 2.0 must be at least 0 and at most 1"),
        ("validation.warn=[LABEL_NULLS]", "validation.warn: LABEL_NULLS cannot be a warning"),
        ("validation.ignored=[late]", "validation.ignored: it names the label 'late'"),
        ("training.epochs=0", "training.epochs: 0 must be a whole number, at least 1"),
        ("training.hyperparameters.depth=3", "training.hyperparameters.depth: nothing reads it"),
        ("training.hyperparameters.epochs=3", "training.hyperparameters.epochs: this key is now training.epochs"),
        ("validation.rules.missing=0.2", "validation.rules.missing: this key is now validation.missing"),
        ("gate.slices.minimum_rows=9", "gate.slices: this key is now gate.slice_minimum_rows and gate.slice_margin"),
        ("gate.tolerance=0.1", "gate.tolerance: this key is now gate.margin"),
        ("gate.metric=auc", "gate.metric: this key is now gate.margin"),
        ("evaluation.slices=[label]", "evaluation.slices: 'label' cannot be a slice"),
    ],
)
def test_what_a_component_does_not_take_is_refused_before_anything_runs(override, message):
    with pytest.raises(ConfigurationError) as error:
        load_job(FLIGHTS, [override])
    assert message in str(error.value)


def test_a_setting_of_a_component_is_one_parameter_by_one_name():
    job = load_job(FLIGHTS, ["gate.confidence=0.9"])
    parameters = {each.name: each for each in pipeline_parameters(job.settings, "local")}
    assert parameters["gate_confidence"].default == 0.95
    assert parameters["gate_confidence"].key == ("gate", "confidence")
    assert job.settings.gate.confidence == 0.9
    assert parameters["validation_skew"].default is None


def test_one_line_turns_on_a_search_before_the_training_and_without_it_nothing_of_it_is_compiled(tmp_path):
    off = compile_specification(load_job(FLIGHTS).wire("vertex"))
    assert "tune" not in str(off["root"]["dag"]["tasks"])
    assert not [name for name in off["root"]["inputDefinitions"]["parameters"] if name.startswith("tuning")]
    job = load_job(FLIGHTS, ["tuning.trials=20"])
    on = compile_specification(job.wire("vertex"), job.defaults("vertex"))
    tasks = on["root"]["dag"]["tasks"]
    assert set(tasks) - set(off["root"]["dag"]["tasks"]) == {"tune-model"}
    best = tasks["train-model"]["inputs"]["artifacts"]["tuned"]["taskOutputArtifact"]
    assert best == {"producerTask": "tune-model", "outputArtifactKey": "best"}
    # What every trial trains with is what the training trains with.
    inputs = tasks["tune-model"]["inputs"]["parameters"]
    assert inputs["epochs"] == tasks["train-model"]["inputs"]["parameters"]["epochs"] == {"componentInputParameter": "training_epochs"}
    assert inputs["trials"] == {"componentInputParameter": "tuning_trials"}
    assert on["root"]["inputDefinitions"]["parameters"]["tuning_trials"]["defaultValue"] == 20


def test_a_search_space_stands_in_the_configuration_or_in_a_file_beside_it(edited, tmp_path):
    (tmp_path / "space.yaml").write_text("learning_rate: {type: float, low: 0.001, high: 0.1, log: true}\n")
    job = load_job(edited("evaluation:", "tuning: { space: space.yaml }\n\nevaluation:"))
    assert job.settings.tuning.space == {"learning_rate": {"type": "float", "low": 0.001, "high": 0.1, "log": True}}
    assert job.defaults("local")["tuning_space"] == job.settings.tuning.space
    (tmp_path / "space.yaml").write_text("learning_rate: {type: float, low: 0, high: 0.1, log: true}\n")
    with pytest.raises(ConfigurationError, match=r"line \d+: tuning\.space\.learning_rate\.low: 0 must be above 0 where log is true"):
        load_job(tmp_path / "edited.yaml")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["tuning.space=absent.yaml"], r"tuning\.space: .*absent\.yaml: no such file"),
        (["tuning.space=[1]"], r"tuning\.space: Input should be a valid dictionary"),
        (["tuning.epochs=3"], r"tuning\.epochs: there is no such key"),
        (["tuning.trials=3", "training.precision=half"], r"^[^\n]*: training\.precision: 'half' must be one of[^\n]*$"),
        (["tuning.trials=0"], r"tuning\.trials: 0 must be a whole number, at least 1"),
        (["tuning.space.blocks={type: int, low: 1, high: 3}"], r"tuning\.space\.blocks: nothing reads it, for there is no model_function"),
        (
            ["tuning.trials=3", "training.code=.", "training.model_function=nets.py:build"],
            r"tuning\.space: it is empty, and what nets\.py:build reads is not known here; name what is searched",
        ),
        (
            ["tuning.space.b={type: int, low: 1, high: 3}", "training.hyperparameters={b: 1}", "training.code=.", "training.model_function=n.py:b"],
            r"tuning\.space\.b: it is fixed by hyperparameters\.b",
        ),
    ],
)
def test_a_search_that_cannot_be_made_is_refused_by_its_key(overrides, words):
    with pytest.raises(ConfigurationError, match=words):
        load_job(FLIGHTS, overrides)
