"""An environment is made once from its group of the lock, and again when a package of that group or Python changes: nothing else renews it."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from intermodal.execution import environments
from intermodal.execution.environments import environment, environment_digest, runner_digest
from intermodal.runner.cache import Cache
from intermodal.runner.inputs import Values
from intermodal.runtime.errors import MachineError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "environment_folder", lambda group: tmp_path / "environments" / group)
    return tmp_path / "environments"


def test_it_is_made_once_even_when_asked_for_twice_at_a_time_and_then_costs_nothing(folder):
    made = []
    with ThreadPoolExecutor(2) as pool:
        pythons = set(pool.map(lambda _: environment("testing", made.append), range(2)))
    assert made == ["testing"]
    assert pythons == {folder / "testing" / "bin" / "python"}
    subprocess.run([str(pythons.pop()), "-c", "import pytest"], check=True)
    started = time.perf_counter()
    environment("testing", made.append)
    assert time.perf_counter() - started < 0.05
    assert made == ["testing"]


def test_another_digest_renews_it(folder, monkeypatch):
    made = []
    environment("testing", made.append)
    monkeypatch.setattr(environments, "environment_digest", lambda group: "another")
    environment("testing", made.append)
    environment("testing", made.append)
    assert made == ["testing", "testing"]


def test_one_that_was_cut_off_while_being_made_is_made_again(folder):
    made = []
    environment("testing", made.append)
    (folder / "testing" / ".lock-digest").unlink()
    environment("testing", made.append)
    assert made == ["testing", "testing"]


def test_a_group_that_does_not_exist_is_refused_in_words(folder):
    with pytest.raises(MachineError, match="no-such-group"):
        environment("no-such-group")


PROJECT = """
[project]
name = "intermodal"
version = "0.1.0"
requires-python = ">=3.11,<3.14"

[dependency-groups]
data = ["iniconfig==2.1.0"]
track = ["pluggy==1.6.0"]

[tool.uv]
default-groups = []

[tool.ruff]
line-length = 150
"""


#: What changes no package of the group data, and what does.
UNRELATED = (
    PROJECT.replace("line-length = 150", "line-length = 120")
    .replace('version = "0.1.0"', 'version = "0.2.0"')
    .replace("pluggy==1.6.0", "pluggy==1.5.0")
    .replace("default-groups = []", 'default-groups = ["data"]\n# a comment')
)
PIN = PROJECT.replace("iniconfig==2.1.0", "iniconfig==2.0.0")
SETTING = PROJECT.replace("default-groups = []", 'default-groups = []\nno-binary-package = ["iniconfig"]')


@pytest.fixture(scope="module")
def locks(tmp_path_factory):
    """The lock of each project, as uv itself writes it."""
    folder, found = tmp_path_factory.mktemp("lock"), {}
    for project in (PROJECT, UNRELATED, PIN):
        (folder / "pyproject.toml").write_text(project)
        command = [str(Path(sys.executable).parent / "uv"), "lock", "--quiet", "--project", str(folder), "--python", sys.executable]
        subprocess.run(command, check=True, cwd=folder)
        found[project] = (folder / "uv.lock").read_text()
    return found | {SETTING: found[PROJECT]}


@pytest.fixture(params=["checkout", "wheel"])
def change(tmp_path, monkeypatch, request, locks):
    """A project of two groups in place of this one, in a checkout or as the wheel carries it; called with another project, puts that there."""
    package = tmp_path / "src" / "intermodal"
    folder = tmp_path if request.param == "checkout" else package / "environments"
    (package / "environments").mkdir(parents=True)
    monkeypatch.setattr(environments, "_PACKAGE", package)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))

    def change(project):
        (folder / "pyproject.toml").write_text(project)
        (folder / "uv.lock").write_text(locks[project])

    change(PROJECT)
    return change


def installed(python):
    program = "from importlib.metadata import version; print(version('iniconfig'))"
    return subprocess.run([str(python), "-c", program], capture_output=True, text=True, check=True).stdout


def test_a_change_of_no_package_of_the_group_renews_nothing_and_voids_no_cache(change, tmp_path):
    made = []
    python, digest, key = environment("data", made.append), environment_digest("data"), cache_key(tmp_path)
    change(UNRELATED)
    assert environment_digest("data") == digest
    assert environment("data", made.append) == python
    assert made == ["data"]
    assert cache_key(tmp_path) == key


def test_a_changed_package_of_the_group_renews_its_environment_and_voids_its_cache_and_no_other(change, tmp_path):
    digests, key, made = {group: environment_digest(group) for group in ("data", "track")}, cache_key(tmp_path), []
    assert installed(environment("data", made.append)) == "2.1.0\n"
    change(PIN)
    assert environment_digest("data") != digests["data"]
    assert environment_digest("track") == digests["track"]
    assert cache_key(tmp_path) != key
    assert installed(environment("data", made.append)) == "2.0.0\n"
    assert made == ["data", "data"]


def test_how_packages_are_installed_counts(change):
    digest = environment_digest("data")
    change(SETTING)
    assert environment_digest("data") != digest


def test_a_lock_that_does_not_match_is_refused_in_words(change):
    (environments.lock_folder() / "pyproject.toml").write_text(PIN)
    with pytest.raises(MachineError, match="uv lock"):
        environment("data")


def test_a_digest_that_is_known_asks_nobody(change, monkeypatch):
    digest = environment_digest("data")
    monkeypatch.setattr(environments, "_locked_packages", None)
    os.utime(environments.lock_folder() / "uv.lock")  # as a checkout of the same commit elsewhere would
    assert environment_digest("data") == digest


def test_the_runner_itself_stands_for_images_that_are_not_ours(tmp_path, monkeypatch):
    before = runner_digest()
    (tmp_path / "something-1.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert runner_digest() != before


def cache_key(folder: Path) -> str:
    return Cache(folder / "cache").key("comp-write", "intermodal-data:0.1.0", ["sh", "-c", "true"], Values(parameters={"text": "a"}), {})
