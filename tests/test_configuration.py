"""Configuration: what is wrong is said with its line, and with the key that was meant."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from intermodal.configuration import TrainingConfiguration, load_configuration
from intermodal.errors import ConfigurationError

FLIGHTS = Path(__file__).resolve().parent.parent / "pipelines" / "flights.yaml"


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
    settings = load_configuration(FLIGHTS)
    assert settings.model.name == "flight-delay"
    assert set(settings.data.split.parts) == {"train", "validation", "test"}


def test_a_misspelt_key_names_the_line_and_the_key_that_was_meant(edited):
    path = edited("maximum:", "maximun:")
    line = next(number for number, text in enumerate(path.read_text().splitlines(), 1) if "maximun" in text)
    with pytest.raises(ConfigurationError, match=rf"line {line}: gate\.maximun: there is no such key; did you mean 'maximum'\?"):
        load_configuration(path)


def test_a_misspelt_section_names_the_section_that_was_meant(edited):
    with pytest.raises(ConfigurationError, match=r"evaluaton: there is no such key; did you mean 'evaluation'\?"):
        load_configuration(edited("evaluation:", "evaluaton:"))


def test_a_misspelt_key_of_a_source_names_its_place_in_the_list(edited):
    with pytest.raises(ConfigurationError, match=r"data\.sources\.0\.colums: there is no such key; did you mean 'columns'\?"):
        load_configuration(edited("      columns:", "      colums:"))


def test_a_missing_key_is_named(edited):
    with pytest.raises(ConfigurationError, match=r"model\.label: this key is required"):
        load_configuration(edited("  label: late\n", ""))


def test_a_value_of_the_wrong_type_is_shown(edited):
    with pytest.raises(ConfigurationError, match=r"serving\.port: .*'eighty'"):
        load_configuration(edited("port: 8080", "port: eighty"))


def test_every_problem_is_told_at_once(edited, tmp_path):
    path = edited("port: 8080", "port: 0")
    path.write_text(path.read_text().replace("seed: 2013", "sead: 2013"))
    with pytest.raises(ConfigurationError, match=r"(?s)model\.sead.*serving\.port|serving\.port.*model\.sead"):
        load_configuration(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"absent\.yaml: no such file"):
        load_configuration(tmp_path / "absent.yaml")


def test_text_that_is_not_yaml_is_refused(tmp_path):
    (tmp_path / "broken.yaml").write_text("a: [1,")
    with pytest.raises(ConfigurationError, match="not YAML"):
        load_configuration(tmp_path / "broken.yaml")


def test_bytes_that_are_not_utf8_are_refused(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"title: caf\xe9")
    with pytest.raises(ConfigurationError, match="not UTF-8 text at byte 10"):
        load_configuration(tmp_path / "latin.yaml")


def test_overrides_reach_deep_keys_and_are_checked():
    assert load_configuration(FLIGHTS, ["gate.minimum.auc=0.9"]).gate.minimum == {"auc": 0.9}
    with pytest.raises(ConfigurationError, match=r"did you mean 'tolerance'"):
        load_configuration(FLIGHTS, ["gate.tolerence=1"])
    with pytest.raises(ConfigurationError, match="expected KEY=VALUE"):
        load_configuration(FLIGHTS, ["gate"])


def test_stores_are_below_the_home_that_is_named(tmp_path):
    arguments = load_configuration(FLIGHTS).local_arguments(base=FLIGHTS.parent, home=tmp_path)
    assert arguments["model_registry"] == f"sqlite:///{tmp_path}/stores/mlflow.db"
    assert arguments["feature_store"]["online_store"]["path"].startswith(str(tmp_path))
    assert "{home}" not in str(arguments)


def test_arguments_fit_the_pipeline(tmp_path):
    from intermodal.components.serve_model.component import serve_model
    from intermodal.pipelines.training import training_pipeline

    arguments = load_configuration(FLIGHTS).local_arguments(base=FLIGHTS.parent, home=tmp_path)
    assert set(arguments) | {"repository"} == set(training_pipeline(serve_model).component_spec.inputs)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_whatever_a_file_holds_it_is_valid_or_refused_in_words(value):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any.yaml"
        path.write_text(yaml.safe_dump(value, allow_unicode=True), encoding="utf-8")
        try:
            assert isinstance(load_configuration(path), TrainingConfiguration)
        except ConfigurationError as error:
            assert str(path) in str(error)
