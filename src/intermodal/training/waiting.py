"""Workers that do not answer, named while the others wait for them."""

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from intermodal.runtime.errors import MachineError
from intermodal.training.cluster import Cluster

_FIRST_SECONDS: Final = 20.0
_CONNECT_SECONDS: Final = 3.0
#: Machines of one job may start minutes apart.
_CHIEF_SECONDS: Final = 600.0
_PAUSE_SECONDS: Final = 0.2


@contextmanager
def naming_absent_workers(cluster: Cluster, seconds: float = _FIRST_SECONDS) -> Iterator[None]:
    """Say, while the block waits for all workers, which of them do not answer: after some seconds, then after twice as many each time.

    Args:
        cluster: The workers; nothing is said where their addresses are not known.
        seconds: When to look first.
    """
    done = threading.Event()

    def watch() -> None:
        pause = waited = seconds
        while not done.wait(pause):
            absent = [f"{index} ({address})" for index, address in enumerate(cluster.addresses) if index != cluster.index and not _answers(address)]
            if absent and not done.is_set():
                plural = "workers" if len(absent) > 1 else "worker"
                sys.stdout.write(f"worker {cluster.index} has waited {waited:.0f} s for {plural} {', '.join(absent)}: no answer there yet\n")
                sys.stdout.flush()
            pause, waited = waited, 2 * waited

    watcher = threading.Thread(target=watch, name="absent workers", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()


def wait_for_chief(cluster: Cluster, seconds: float = _CHIEF_SECONDS) -> None:
    """Return when the chief's address takes connections; at once in the chief, and where its address is not known.

    Args:
        cluster: The workers.
        seconds: How long to wait at most.

    Raises:
        MachineError: It took none for so long.
    """
    if cluster.chief or not cluster.addresses:
        return
    address, deadline = cluster.addresses[0], time.monotonic() + seconds
    while not _answers(address):
        if time.monotonic() >= deadline:
            raise MachineError(
                f"worker {cluster.index} of {cluster.count} cannot reach the chief at {address} (from {cluster.source}): nothing has answered there "
                f"for {seconds:.0f} s; see whether worker 0 runs, what its log says, and whether the network lets workers reach each other's ports"
            )
        time.sleep(min(_PAUSE_SECONDS, seconds))


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, ValueError):
        return False
    return True
