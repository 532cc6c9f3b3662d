"""A TrainJob followed on a real cluster while the way to its API server is cut, and what is not followed."""

import os
import re
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from kubernetes import client, config

from intermodal.runtime.errors import PlatformError
from intermodal.tuning.katib.api import Experiments
from intermodal.workers.objects import UnreachableError
from intermodal.workers.trainjob import api
from intermodal.workers.trainjob.api import Jobs
from intermodal.workers.trainjob.following import Follower, JobFailedError
from tests.workers.small_task import share


class Way:
    """Connections of a loopback port carried to another address, until they are cut."""

    def __init__(self, host: str, port: int) -> None:
        self._target, self._open, self._pairs = (host, port), True, []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._open = False
        for pair in self._pairs:
            for each in pair:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._open = True

    def close(self) -> None:
        self.cut()
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                incoming, _ = self._server.accept()
                if self._open:
                    pair = incoming, socket.create_connection(self._target)
                    self._pairs.append(pair)
                    threading.Thread(target=self._carry, args=(pair,), daemon=True).start()
                else:
                    incoming.close()

    def _carry(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with suppress(OSError), pair[0], pair[1]:
            while True:
                for ready in select.select(pair, [], [])[0]:
                    if not (data := ready.recv(65536)):
                        return
                    pair[ready is pair[0]].sendall(data)


@contextmanager
def a_way(space, folder: Path) -> Iterator[tuple[Way, Jobs]]:
    """Yield the way to the API server, and the TrainJobs as they are seen over it."""
    kubeconfig = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
    (cluster,) = [each["cluster"] for each in kubeconfig["clusters"]]
    address = urlsplit(cluster["server"])
    way = Way(address.hostname, address.port or 443)
    cluster["server"] = f"https://127.0.0.1:{way.port}"
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(kubeconfig))
    try:
        yield way, Jobs(config.new_client_from_config(str(path)), space.name)
    finally:
        way.close()


@pytest.mark.fault(
    "training", "the API server is away while workers train", "it is asked again for ten minutes; no line of the log is lost or said twice"
)
def test_the_follower_outlives_an_absence_of_the_api_server(space, examples, tmp_path):
    started = space.launch(share, examples, workers=2, what="wait once")
    victim = started.running(1)
    lines = []
    with a_way(space, tmp_path) as (way, jobs):
        follower = Follower(jobs, started.job, workers=2, start_timeout=60, say=lines.append)
        thread = threading.Thread(target=follower.run)
        thread.start()
        space.until(lambda: "second 2" in lines)
        way.cut()
        space.until(lambda: any("the API server does not answer, trying again" in line for line in lines))
        way.mend()
        after = len(lines)
        space.until(lambda: any(line.startswith("second ") for line in lines[after:]))
        way.cut()
        with pytest.raises(UnreachableError, match="the cluster does not answer"):
            Follower(jobs, started.job, workers=2, start_timeout=60, say=lines.append, away=1.0).run()
        way.mend()
        space.core.delete_namespaced_pod(victim.metadata.name, space.name, grace_period_seconds=0)
        thread.join(90)
        assert not thread.is_alive()
    seconds = [int(line.split()[1]) for line in lines if re.fullmatch(r"second \d+", line)]
    assert seconds == list(range(len(seconds)))
    assert "worker 0 of 2 of workers=2 in attempt 1: wait once" in lines
    assert started.wait().status == 0, started.log


def test_another_job_of_the_same_name_is_not_followed(space, examples):
    started = space.launch(share, examples, workers=2, what="wait")
    job = space.until(lambda: started.job)
    older = job | {"metadata": job["metadata"] | {"uid": "00000000-0000-0000-0000-000000000000"}}
    with pytest.raises(JobFailedError, match="was deleted while it ran; run the task again"):
        Follower(Jobs(client.ApiClient(), space.name), older, workers=2, start_timeout=60, say=print).run()
    space.core.delete_namespaced_pod(started.pod, space.name, grace_period_seconds=0)


@pytest.mark.fault("Training", "the cluster has no Kubeflow Trainer", "the task says so, with the remedy, before anything is made")
def test_a_cluster_without_trainer_is_named(space, monkeypatch):
    assert "runtimePatches" in Jobs(client.ApiClient(), space.name).fields()
    monkeypatch.setattr(api, "API_VERSION", "trainer.kubeflow.org/v9")
    with pytest.raises(PlatformError, match=r"this cluster has no TrainJob .*install Kubeflow Trainer 2 on it .*, or set workers=1"):
        Jobs(client.ApiClient(), space.name).fields()


def test_a_cluster_without_katib_is_named(space, monkeypatch):
    monkeypatch.setattr("intermodal.tuning.katib.api.API_VERSION", "kubeflow.org/v9")
    with pytest.raises(PlatformError, match=r"no experiments and no trials of kubeflow\.org/v9: install Katib on it .*or remove tuning = .katib."):
        Experiments(client.ApiClient(), space.name).check()
