"""Workers that look for each other in a real object store, where pods that are gone have left their addresses."""

import contextlib
import json
import socket
import threading
import time
from dataclasses import asdict

import boto3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intermodal.runtime.errors import MachineError
from intermodal.workers import meeting
from intermodal.workers.exchange import Exchange
from intermodal.workers.meeting import Announced, Door, meet
from tests.servers.storage import s3_server

HOST = "127.0.0.1"
#: Kinds of workers that a folder may name.
GONE, FOREIGN, SILENT, ENDING, LIVE = "gone", "foreign", "silent", "ending", "live"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with s3_server(tmp_path_factory.mktemp("store")) as endpoint, pytest.MonkeyPatch.context() as patched:
        for name, value in (("AWS_ENDPOINT_URL", endpoint), ("AWS_ACCESS_KEY_ID", "user"), ("AWS_SECRET_ACCESS_KEY", "secret")):
            patched.setenv(name, value)
        patched.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patched.setattr(meeting, "_ANSWER_SECONDS", 0.2)
        patched.setattr(meeting, "_POLL_SECONDS", 0.05)
        boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="bucket")
        yield iter(f"s3://bucket/{number}" for number in range(10_000))


class Workers:
    """Workers of each kind, which listen for as long as the block."""

    def __init__(self, uri, stack):
        self.exchange, self._stack, self._number = Exchange(uri), stack, 0

    def make(self, kind, port=4000):
        """Return what a worker of this kind has said of itself."""
        door = Door(HOST, lambda: kind == ENDING)
        said = Announced(HOST, port, door.port, door.key)
        if kind in (LIVE, ENDING):
            self._stack.callback(door.close)
            return said
        door.close()
        if kind == GONE:
            return said
        if kind == FOREIGN:  # another worker's door, at a port that was that one's
            other = Door(HOST, lambda: False)
            self._stack.callback(other.close)
            return Announced(HOST, port, other.port, said.key)
        listening = self._stack.enter_context(socket.create_server((HOST, 0)))
        return Announced(HOST, port, listening.getsockname()[1], said.key)

    def say(self, index, said, attempt="0"):
        self._number += 1
        self.exchange.announce(attempt, index, f"{self._number:020}-x", json.dumps(asdict(said)))


@pytest.fixture
def workers(store):
    with contextlib.ExitStack() as stack:
        yield Workers(next(store), stack)


STALE = st.lists(st.sampled_from([GONE, FOREIGN, SILENT, ENDING]), max_size=3)


@pytest.mark.fault(
    "Training", "the workers' folder names pods that are gone, or other processes at their ports", "only a worker that answers is used"
)
@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(STALE, STALE), min_size=1, max_size=3))
def test_only_workers_that_answer_are_used_whatever_else_the_folder_names(store, others):
    with contextlib.ExitStack() as stack:
        workers = Workers(next(store), stack)
        for index, (older, newer) in enumerate(others, 1):
            for kind in older:
                workers.say(index, workers.make(kind, 1))
            workers.say(index, workers.make(LIVE, 5000 + index))
            for kind in newer:
                workers.say(index, workers.make(kind, 1))
        workers.say(0, workers.make(GONE, 1))  # this worker's own place may have been another's
        found = meet(workers.exchange, "0", 0, workers.make(LIVE, 5000), len(others) + 1, 20)
        assert found == [f"{HOST}:{5000 + index}" for index in range(len(others) + 1)]


def test_the_newest_of_those_that_answer_is_used_and_other_attempts_are_not(workers):
    for port in (1, 2, 5001):
        workers.say(1, workers.make(LIVE, port))
    workers.say(1, workers.make(LIVE, 3), attempt="1")
    assert meet(workers.exchange, "0", 0, workers.make(LIVE, 5000), 2, 20) == [f"{HOST}:5000", f"{HOST}:5001"]


def test_workers_that_start_one_after_another_all_find_the_same(workers):
    found = {}

    def start(index):
        time.sleep(0.2 * index)
        found[index] = meet(workers.exchange, "0", index, workers.make(LIVE, 5000 + index), 3, 20)

    workers.say(1, workers.make(GONE, 1))
    threads = [threading.Thread(target=start, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert list(found.values()) == [[f"{HOST}:{5000 + index}" for index in range(3)]] * 3


@pytest.mark.fault("Training", "a worker has started and cannot be reached", "an error names it, its address and what to look at")
@pytest.mark.parametrize(
    ("kind", "why"), [(GONE, "Connection refused"), (FOREIGN, "something else listens there"), (SILENT, "timed out"), (ENDING, "something else")]
)
def test_a_worker_that_does_not_answer_is_named_in_time(workers, kind, why):
    workers.say(1, workers.make(kind))
    begun = time.monotonic()
    with pytest.raises(MachineError, match=rf"worker 0 cannot reach 1 of 2 workers: worker 1 at 127\.0\.0\.1:\d+ \(.*{why}.*NetworkPolicy"):
        meet(workers.exchange, "0", 0, workers.make(LIVE), 2, 0.5)
    assert time.monotonic() - begun < 5


def test_workers_that_said_nothing_are_counted(workers):
    workers.say(1, workers.make(LIVE))
    with pytest.raises(MachineError, match=r"after 0\.3 s 1 of 3 workers have not started \(2\)"):
        meet(workers.exchange, "0", 0, workers.make(LIVE), 3, 0.3)
