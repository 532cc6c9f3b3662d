"""Several processes read what one reads."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from intermodal.components.validate_data.statistics import streaming as statistics
from intermodal.components.validate_data.statistics import workers
from intermodal.runtime.errors import DataError, MachineError


@pytest.fixture
def four_processes(monkeypatch):
    monkeypatch.setattr(workers, "_WORTHWHILE", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)))


@pytest.mark.usefixtures("four_processes")
@pytest.mark.parametrize("rows", [1, 3, 400, 5000])
def test_processes_give_the_same_outputs(run, rows):
    run.write("train", rows=4000)
    run.write("test", rows=max(rows, 3))
    run.write("test", "1.parquet", rows=rows)
    files = {part: sorted((run.examples / part).glob("*")) for part in ("train", "validation", "test")}
    blocks = {"train": 8, "validation": 1, "test": 3}
    together = workers.read_parts(files, [], blocks)
    for part, count in blocks.items():
        single = statistics.read_blocks(files[part], [], count)
        assert [one.rows for one in together[part]] == [one.rows for one in single]
        assert [one.statistics(part) for one in together[part]] == [one.statistics(part) for one in single]


@pytest.mark.usefixtures("four_processes")
def test_a_damaged_file_in_another_process_is_named(run):
    path = run.write("test", rows=100_000, size=pa.array([row * 1.7 for row in range(100_000)]))
    content = bytearray(path.read_bytes())
    content[40:4000] = b"\xff" * 3960
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"test/0\.parquet: not whole Parquet"):
        run()


@pytest.mark.usefixtures("four_processes")
def test_a_process_that_is_killed_stops_the_task(run, monkeypatch):
    here = os.getpid()

    def read_or_die(*args):
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return statistics.read_blocks(*args)

    monkeypatch.setattr(workers, "read_blocks", read_or_die)
    with pytest.raises(MachineError, match="ended with -9"):
        run()
    assert not (run.path / "statistics").exists()


FORK = """
import os, sys, time
from intermodal.components.validate_data.statistics.workers import fork

def task():
    print(os.getpid(), flush=True)
    time.sleep(60)

fork(task)()
"""


def test_no_process_outlives_a_task_that_is_killed():
    with subprocess.Popen([sys.executable, "-c", FORK], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    for _ in range(100):
        if not alive(child):
            return
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the process went on without its task")


def alive(process: int) -> bool:
    """Say whether a process runs; one that has ended and is not yet collected does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
