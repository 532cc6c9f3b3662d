"""`targets.toml`: what is wrong is named, with the nearest right word, and no secret gets by."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intermodal.configuration.targets import load_targets
from intermodal.runtime.errors import ConfigurationError

EXAMPLE = Path(__file__).resolve().parents[2] / "targets.example.toml"
TEXT = EXAMPLE.read_text()


@pytest.fixture
def written(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "targets.toml"
        path.write_text(text)
        return path

    return write


def refusal(path, profile=None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_targets(path).profile(profile)
    return str(caught.value)


def test_the_shipped_example_loads_with_both_platforms_and_two_profiles():
    targets = load_targets(EXAMPLE)
    assert targets.profile().kubeflow.tasks["train-model"].shape == "training"
    assert targets.profile("prod").vertex.project == "my-project-prod"
    assert targets.profile("prod").kubeflow is None


def test_an_unknown_profile_names_the_nearest():
    assert "did you mean 'prod'" in refusal(EXAMPLE, "prd")


def test_an_absent_file_says_where_to_begin(tmp_path):
    assert "targets.example.toml" in refusal(tmp_path / "targets.toml")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("region = ", "regoin = "), ["profiles.dev.vertex.regoin", "did you mean 'region'"]),
        (('project = "my-project"\n', ""), ["profiles.dev.vertex.project", "required"]),
        (('gs://my-project-dev-pipelines"\nservice', 's3://elsewhere"\nservice'), ["profiles.dev.vertex.root", "s3://elsewhere"]),
        (('shape = "training-gpu"', 'shape = "training-gpo"'), ["train-model", "did you mean 'training-gpu'"]),
        (('memory = "16G"', 'memory = "lots"'), ["shapes.training.memory", "lots"]),
        (("retries = 2", "retries = 99"), ["retries", "99"]),
        (('labels = { team = "ml" }', 'labels = { Team = "ml" }'), ["labels", "Team"]),
        (("default_profile", "default profile"), ["not TOML"]),
    ],
)
def test_a_mistake_is_named_with_its_place_and_remedy(written, change, words):
    assert change[0] in TEXT
    message = refusal(written(TEXT.replace(*change, 1)))
    for word in words:
        assert word in message


def test_an_option_of_kubernetes_on_vertex_is_refused_by_name(written):
    text = TEXT + '\n[profiles.prod.vertex.tasks.register-model]\nsecrets = [{ name = "mlflow", env = { PASSWORD = "password" } }]\n'
    message = refusal(written(text))
    assert "secrets" in message
    assert "register-model" in message
    assert "only on kubeflow" in message


@pytest.mark.parametrize(
    "line",
    [
        'token = "abc"',
        '"stores.password" = "hunter2"',
        '"registry" = "https://me:hunter2@mlflow.example"',
        'note = "-----BEGIN PRIVATE KEY-----"',
        'note = "ya29.A0AfH6SMBxxxxxxxxxxxxxxxxxxxxxxxx"',
        'key = "AKIAIOSFODNN7EXAMPLE"',
    ],
)
def test_a_secret_is_refused_and_not_repeated(written, line):
    message = refusal(written(TEXT + f"\n[profiles.prod.local.set]\n{line}\n"))
    assert "carries a password or token" in message
    assert line.partition(" = ")[2].strip('"') not in message


def test_the_name_of_a_secret_and_a_reference_to_a_variable_are_no_secrets(written):
    assert load_targets(written(TEXT)).profile().kubeflow.tasks["retrieve-features"].secrets[0].env == {"FEAST_PASSWORD": "password"}


def test_a_token_comes_from_a_file_or_a_command_but_not_from_both(written):
    text = TEXT.replace("retries = 2", 'token = { file = "/a", command = ["b"] }\nretries = 2', 1)
    assert "either file or command" in refusal(written(text))


@given(
    st.dictionaries(
        st.text(max_size=8),
        st.recursive(st.integers() | st.text(max_size=8), lambda inner: st.dictionaries(st.text(max_size=8), inner, max_size=3)),
        max_size=3,
    )
)
def test_any_table_at_all_is_read_or_refused_in_words(tmp_path_factory, values):
    lines = [f"{_quoted(key)} = {_inline(value)}" for key, value in values.items()]
    path = tmp_path_factory.mktemp("targets") / "targets.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    assert str(path) in refusal(path) or "targets.toml" in refusal(path)


def _quoted(text: str) -> str:
    return '"' + "".join(each if each.isalnum() and each.isascii() else f"\\u{ord(each) if ord(each) < 0xD800 else 63:04x}" for each in text) + '"'


def _inline(value) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(key)} = {_inline(each)}" for key, each in value.items()) + "}"
    return _quoted(value) if isinstance(value, str) else str(value % 1000)


@pytest.mark.fault("Kubeflow", "an artifact root below minio://, from which KServe fetches no model", "it is refused with the root to write instead")
def test_a_root_below_minio_is_refused_with_what_to_write(written):
    message = refusal(written(TEXT.replace("s3://pipelines/dev", "minio://mlpipeline/v2")))
    assert "profiles.dev.kubeflow.root" in message
    assert "write s3://mlpipeline/v2" in message
    assert "`storage_endpoint`" in message


@pytest.mark.parametrize(
    ("endpoint", "ui", "page"),
    [
        ("http://127.0.0.1:8888", "", "http://127.0.0.1:8080"),  # the API's own port shows no page
        ("http://ml-pipeline.kubeflow:8888/", "", "http://127.0.0.1:8080"),
        ("https://kubeflow.example/pipeline/", "", "https://kubeflow.example/pipeline"),
        ("http://127.0.0.1:8888", "https://kubeflow.example/pipeline/", "https://kubeflow.example/pipeline"),
    ],
)
def test_the_pages_have_their_own_address(written, endpoint, ui, page):
    text = re.sub(r"(?m)^ui = .*$", f'ui = "{ui}"' if ui else "", TEXT.replace("http://127.0.0.1:8888", endpoint))
    assert load_targets(written(text)).profile().kubeflow.page == page
