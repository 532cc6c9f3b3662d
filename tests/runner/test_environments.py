"""An environment is made once from its group of the lock, and again when lock or Python change."""

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from intermodal.runner import environments
from intermodal.runner.environments import environment
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


def test_another_lock_renews_it(folder, monkeypatch):
    made = []
    environment("testing", made.append)
    monkeypatch.setattr(environments, "lock_digest", lambda: "another")
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
