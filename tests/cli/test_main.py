"""The command line as a person meets it: every command runs in a process of its own."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from intermodal import __version__
from intermodal.authoring.catalog import component_names
from intermodal.cli.main import app
from tests.continuous_training.commands import check

ROOT = Path(__file__).resolve().parents[2]
COMMAND = Path(sys.executable).parent / "intermodal"


def intermodal(*arguments: str, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(COMMAND), *arguments],
        cwd=cwd,
        env=os.environ | {"COLUMNS": "120", "TERM": "dumb"} | variables,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )


def test_help_names_every_command():
    shown = intermodal("--help")
    assert shown.returncode == 0
    for command in ("run", "compile", "list", "describe", "run-component", "serve", "doctor", "new-component"):
        assert command in shown.stdout


@pytest.mark.parametrize("command", ["run", "compile", "list", "describe", "run-component", "serve", "doctor", "new-component"])
def test_every_command_explains_itself(command):
    shown = intermodal(command, "--help")
    assert shown.returncode == 0
    assert len(shown.stdout.split("\n")[3]) > 20, "a sentence that says what it does"


def commands(group: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in getattr(group, "commands", {}).items():
        yield (*path, name), command
        yield from commands(command, *path, name)


COMMANDS = {path: command for path, command in commands(typer.main.get_command(app)) if not hasattr(command, "commands")}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_an_example_that_the_command_line_accepts(path):
    given = re.findall(r"`intermodal ([^`]+)`", COMMANDS[path].epilog or "")
    assert given, "no example in its help"
    for each in given:
        assert tuple(shlex.split(each)[: len(path)]) == path
        check(shlex.split(each))


def test_list_names_every_component_and_the_shipped_configurations():
    shown = intermodal("list")
    assert shown.returncode == 0
    for name in component_names():
        assert name in shown.stdout
    assert "pipelines/flights.yaml" in shown.stdout


def test_describe_shows_inputs_outputs_and_image():
    shown = intermodal("describe", "gate_model")
    assert shown.returncode == 0
    for word in ("evaluation", "confidence", "decision", "intermodal-train", "cached"):
        assert word in shown.stdout


def test_describe_shows_defaults_and_what_is_required():
    shown = intermodal("describe", "register_model").stdout
    for name, default in {"model": "required", "registry": "required", "training": "none", "parameters": "{}"}.items():
        assert re.search(rf"^{name} +\w+ +{re.escape(default)} ", shown, re.MULTILINE), name


def test_describe_names_the_component_that_was_meant():
    shown = intermodal("describe", "gate_modl")
    assert shown.returncode == 1
    assert "did you mean gate_model?" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_compile_refuses_an_unknown_target(tmp_path):
    shown = intermodal("compile", "--target", "kubeflw", "--output", str(tmp_path))
    assert shown.returncode == 1
    assert "the targets are kubeflow, vertex" in shown.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_is_committed_below_compiled_is_fresh():
    shown = intermodal("compile", "--check")
    assert shown.returncode == 0, shown.stderr


def test_check_fails_on_a_stale_file_and_names_it(tmp_path):
    assert intermodal("compile", "--output", str(tmp_path)).returncode == 0
    stale = tmp_path / "kubeflow" / "flights.yaml"
    stale.write_text(stale.read_text().replace("intermodal-train", "intermodal-trian"))
    shown = intermodal("compile", "--check", "--output", str(tmp_path))
    assert shown.returncode == 1
    assert str(stale) in shown.stderr
    assert "intermodal compile" in shown.stderr
    assert intermodal("compile", "--output", str(tmp_path)).returncode == 0
    left = tmp_path / "components" / "gone.yaml"
    left.write_text("{}")
    shown = intermodal("compile", "--check", "--output", str(tmp_path))
    assert shown.returncode == 1
    assert f"{left} is compiled from nothing that there is; delete it" in shown.stderr


def test_compiling_twice_gives_equal_bytes(tmp_path):
    for folder in ("one", "two"):
        assert intermodal("compile", "--output", str(tmp_path / folder)).returncode == 0
    one = {path.relative_to(tmp_path / "one"): path.read_bytes() for path in (tmp_path / "one").rglob("*.yaml")}
    two = {path.relative_to(tmp_path / "two"): path.read_bytes() for path in (tmp_path / "two").rglob("*.yaml")}
    assert one == two
    assert len(one) == len(component_names()) + 4  # training for both platforms, batch prediction for one; train_model for Kubeflow


def test_run_with_a_missing_configuration_says_so_and_fails(tmp_path):
    shown = intermodal("run", "absent.yaml", "--home", str(tmp_path / "home"))
    assert shown.returncode == 1
    assert "absent.yaml: no such file" in shown.stderr
    assert not (tmp_path / "home").exists()


def test_serve_in_an_empty_home_says_that_nothing_is_served(tmp_path):
    shown = intermodal("serve", "--home", str(tmp_path))
    assert shown.returncode == 0
    assert "Nothing is served" in shown.stdout


def test_stopping_what_is_not_served_fails_with_its_name(tmp_path):
    shown = intermodal("serve", "--home", str(tmp_path), "stop", "absent")
    assert shown.returncode == 1
    assert "absent" in shown.stderr


def test_doctor_finds_this_machine_fit():
    shown = intermodal("doctor")
    assert shown.returncode == 0, shown.stdout
    for word in ("python", "memory", "disk", "data validation", "docker"):
        assert word in shown.stdout


def test_doctor_says_what_is_missing_and_how_to_get_it(tmp_path):
    shown = intermodal("doctor", PATH=str(tmp_path), KUBECONFIG=str(tmp_path / "absent"))
    assert "apt-get install git" in shown.stdout
    assert "set KUBECONFIG" in shown.stdout


def test_a_pipeline_for_one_platform_says_so_where_it_is_compiled_for_another():
    shown = intermodal("compile", "pipelines/batch_prediction.yaml", "--target", "kubeflow")
    assert shown.returncode == 1
    assert "the pipeline 'batch_prediction' runs on vertex only, not on kubeflow" in shown.stderr


def test_the_version_is_printed_without_a_command():
    shown = intermodal("--version")
    assert (shown.returncode, shown.stdout.strip()) == (0, __version__)
