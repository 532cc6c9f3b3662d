"""What a run leaves for `status`, `replay` and `retry`: what was asked, whether it still goes on, and what each task was given."""

import subprocess
import sys

import pytest

from intermodal.runner.records import is_running, read_request
from intermodal.runtime.errors import PlatformError


def test_a_run_of_an_earlier_version_says_that_it_kept_nothing(tmp_path):
    with pytest.raises(PlatformError, match=r"kept no run-request\.json"):
        read_request(tmp_path)


def test_a_run_goes_on_until_its_process_ends_however_that_ends(tmp_path):
    assert not is_running(tmp_path)
    program = f"""
from pathlib import Path
from intermodal.runner.records import recorded

with recorded(Path({str(tmp_path)!r}), {{}}):
    print("locked", flush=True)
    input()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"locked\n"
        assert is_running(tmp_path)
        process.kill()
        process.wait()
        assert not is_running(tmp_path)
