import socket
import time

import pytest

from intermodal.runtime.errors import MachineError
from intermodal.training.cluster import Cluster
from intermodal.training.waiting import naming_absent_workers, wait_for_chief


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


@pytest.mark.fault("Training", "a worker cannot reach the chief", "after ten minutes an error with the chief's address and what to look at")
def test_a_chief_that_cannot_be_reached_is_an_error_in_bounded_time():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        began = time.monotonic()
        words = rf"worker 1 of 2 cannot reach the chief at {address} \(from TF_CONFIG\): nothing has answered there for 0 s; see whether"
        with pytest.raises(MachineError, match=words):
            wait_for_chief(Cluster(1, 2, (address, "127.0.0.1:1"), "TF_CONFIG"), seconds=0.3)
        assert 0.3 <= time.monotonic() - began < 5
        closed.listen()
        wait_for_chief(Cluster(1, 2, (address, "127.0.0.1:1"), "TF_CONFIG"))
    wait_for_chief(Cluster(0, 2, (address, "127.0.0.1:1"), "TF_CONFIG"))
