"""Every command takes somebody else's pipeline: a file outside this repository, with a configuration type of its own."""

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.invoking import runs, said

HERE = Path(__file__).resolve().parent
PLATFORMS = ["kubeflow", "vertex"]


@pytest.fixture
def configuration(tmp_path, monkeypatch):
    """A folder outside the repository with the pipeline, its configuration and its data; the working directory is another one."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    shutil.copy(HERE / "counting.py", folder / "counting.py")
    (folder / "text.txt").write_text("one two three four")
    (folder / "mine.yaml").write_text(
        "pipeline: counting.py:pipeline\nname: word-count\ntext: text.txt\ncounting: { smallest: 4 }\ncheck: { minimum: 2 }\n"
    )
    monkeypatch.chdir(tmp_path)
    return str(folder / "mine.yaml")


@pytest.mark.parametrize("target", PLATFORMS)
def test_it_is_compiled_linted_and_submitted(platforms, configuration, target):
    said("compile", configuration, "--target", target, "--profile", "dev")
    assert "0 errors, 0 warnings" in said("lint", f"compiled/{target}/mine.yaml", "--target", target)
    compiled = Path(f"compiled/{target}/mine.yaml").read_text()
    assert "counting_smallest" in compiled
    assert "name: word-count" in compiled
    for _ in range(2):
        said("submit", configuration, "--target", target, "--key", "first")
    (run,) = runs(platforms, target).values()
    assert "staged/" in json.dumps(run)
    said("submit", f"compiled/{target}/mine.yaml", "--configuration", configuration, "--target", target, "--key", "second")
    assert len(runs(platforms, target)) == 2


def test_keys_of_the_target_that_only_another_pipeline_has_are_left_out_and_named(platforms, configuration):
    note = "registry, features.store under `set` in targets.toml are left out: the pipeline 'counting' has no such key"
    assert note in said("submit", configuration, "--target", "kubeflow")
    assert note in said("upload", configuration, "--version", "1")


def test_a_key_of_the_target_that_no_pipeline_has_is_refused_with_the_nearest(platforms, configuration, tmp_path):
    targets, text = tmp_path / "targets.toml", (tmp_path / "targets.toml").read_text()
    for wrong, near in (("registry = ", "regisrty = "), ('"features.store" = {', '"features.stroe" = {')):
        targets.write_text(text.replace(wrong, near))
        key, right = near.split()[0].strip('"'), wrong.split()[0].strip('"').rpartition(".")[2]
        message = said("submit", configuration, "--target", "kubeflow", code=1)
        assert f"targets.toml: set: {key}: no installed pipeline has the key {key.rpartition('.')[2]!r}; did you mean {right!r}?" in message


def test_a_key_of_this_machine_that_only_another_pipeline_has_is_left_out_and_named(configuration, tmp_path):
    (tmp_path / "targets.toml").write_text('[profiles.dev.local.set]\nregistry = "http://mlflow.example"\n')
    assert "registry under `set` in targets.toml is left out" in said("submit", configuration, "--target", "local")


@pytest.mark.parametrize("target", PLATFORMS)
def test_it_is_scheduled_and_started_by_events(platforms, configuration, target, tmp_path):
    assert "active" in said("schedule", "create", configuration, "--target", target, "--name", "nightly", "--cron", "0 3 * * *")
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"specversion": "1.0", "id": "7", "source": "monitor", "type": "drift"}))
    for _ in range(2):
        said("trigger", configuration, "--target", target, "--event", str(event))
    assert len(runs(platforms, target)) == 1


def test_it_is_uploaded(platforms, configuration):
    assert "Uploaded word-count 1" in said("upload", configuration, "--version", "1")


@pytest.mark.parametrize(("minimum", "answer"), [(2, True), (3, False)])
def test_it_runs_here(configuration, minimum, answer, tmp_path):
    printed = said("run", configuration, "--home", str(tmp_path / "home"), "--set", f"check.minimum={minimum}")
    folder = Path(printed.split("Done")[1].split()[0])
    assert folder.name.startswith("word-count-")
    assert f'"Output": {json.dumps(answer)}' in "".join(path.read_text() for path in folder.rglob("executor_output.json"))


def test_a_module_on_the_path_is_named_without_its_file(configuration, monkeypatch):
    monkeypatch.syspath_prepend(Path(configuration).parent)
    Path(configuration).write_text(Path(configuration).read_text().replace("counting.py:", "counting:"))
    said("compile", configuration, "--target", "vertex")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("counting.py:pipeline", "countin", "line 1: pipeline: there is no pipeline 'countin'"),
        ("counting.py:pipeline", "trainin", "did you mean 'training'?"),
        ("counting.py:pipeline", "absent.py:pipeline", "there is no file"),
        ("counting.py:pipeline", "counting.py:pipelin", "the module has no 'pipelin'; its pipelines: pipeline"),
        ("counting.py:pipeline", "counting.py:count_words", "not intermodal.authoring.pipeline.Pipeline"),
        ("counting.py:pipeline", "not_there:pipeline", "cannot import 'not_there'"),
        ("counting.py:pipeline", "[]", "expected a name, module:attribute or file.py:attribute, not []"),
        ("smallest: 4", "smalest: 4", "line 4: counting.smalest: there is no such key; did you mean 'smallest'?"),
        ("smallest: 4", "smallest: four", "counting.smallest"),
        ("{ minimum: 2 }", "{}", "check.minimum: this key is required"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(configuration, old, new, sentence):
    Path(configuration).write_text(Path(configuration).read_text().replace(old, new))
    assert sentence in said("compile", configuration, code=1)


def test_a_file_that_fails_is_named_with_its_line(configuration):
    (Path(configuration).parent / "counting.py").write_text("import json\n\njson.loads('{')\n")
    assert "counting.py, line 3: JSONDecodeError" in said("compile", configuration, code=1)
