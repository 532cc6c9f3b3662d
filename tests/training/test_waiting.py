import socket
import time

import pytest

from intermodal.training.cluster import Cluster
from intermodal.training.waiting import naming_absent_workers


@pytest.mark.fault("Training", "a worker never comes, or cannot be reached", "the others say which, and where they looked for it")
def test_a_worker_that_does_not_answer_is_named(capsys):
    with socket.create_server(("127.0.0.1", 0)) as there, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in (closed, there, closed)]
        with naming_absent_workers(Cluster(2, 3, tuple(addresses)), seconds=0.05):
            deadline = time.monotonic() + 10
            said = ""
            while not said and time.monotonic() < deadline:
                time.sleep(0.02)
                said += capsys.readouterr().out
    assert said.splitlines()[0] == f"worker 2 has waited 0 s for worker 0 ({addresses[0]}): no answer there yet"


def test_nothing_is_said_of_workers_that_answer(capsys):
    with socket.create_server(("127.0.0.1", 0)) as there:
        address = f"127.0.0.1:{there.getsockname()[1]}"
        with naming_absent_workers(Cluster(0, 2, ("127.0.0.1:1", address)), seconds=0.02):
            time.sleep(0.2)
    assert capsys.readouterr().out == ""
