import os
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import requests
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from intermodal.rollout.judging.limits import Settings
from intermodal.rollout.judging.look import judge
from intermodal.rollout.metrics import prometheus as module
from intermodal.rollout.metrics.prometheus import Prometheus, Queries
from intermodal.runtime.errors import ConfigurationError, StoreError
from tests.ports import free_port

QUERIES = Queries(
    requests='requests_total{model="$model"}',
    errors='requests_total{model="$model",code=~"5.."}',
    latencies='seconds_bucket{model="$model"}',
    business_sum='revenue_total{model="$model"}',
    business_count='requests_total{model="$model",code="200"}',
)


class Pod:
    """A real exporter whose process can begin again."""

    def __init__(self) -> None:
        self.begin()
        pod = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = generate_latest(pod.registry)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def begin(self) -> None:
        registry = CollectorRegistry()
        self.requests = Counter("requests", "requests", ["code"], registry=registry)
        self.requests.labels("200")
        self.seconds = Histogram("seconds", "latency", buckets=[0.05, 0.1], registry=registry)
        self.revenue = Counter("revenue", "revenue", registry=registry)
        self.registry = registry

    def serve(self, good: int, bad: int = 0, seconds: float = 0.07) -> None:
        self.requests.labels("200").inc(good)
        self.revenue.inc(2.0 * good)
        for _ in range(good):
            self.seconds.observe(seconds)
        if bad:
            self.requests.labels("503").inc(bad)


@pytest.fixture(scope="module")
def pods() -> Iterator[dict[str, Pod]]:
    made = {name: Pod() for name in ("old", "new", "ending")}
    made["old"].serve(1000, 50)
    yield made
    for each in made.values():
        each.server.shutdown()


@pytest.fixture(scope="module")
def server(pods, tmp_path_factory) -> Iterator[Prometheus]:
    program = os.environ.get("INTERMODAL_TEST_PROMETHEUS")
    if not program:
        pytest.skip("set INTERMODAL_TEST_PROMETHEUS to Prometheus's program (apt-get install prometheus)")
    folder = tmp_path_factory.mktemp("prometheus")
    targets = "".join(
        f'      - targets: ["127.0.0.1:{pod.server.server_address[1]}"]\n        labels: {{model: "{name}"}}\n' for name, pod in pods.items()
    )
    (folder / "prometheus.yml").write_text(
        f"global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n  - job_name: pods\n    static_configs:\n{targets}"
    )
    port = free_port()
    arguments = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "log").open("wb") as log, subprocess.Popen([program, *arguments], stdout=log, stderr=log) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            wait(lambda: requests.get(f"{url}/-/ready", timeout=5).ok and len(found(url, 'requests_total{model=~"old|new|ending"}')) >= 4)
            yield Prometheus(url)
        finally:
            process.terminate()


def found(url: str, query: str) -> list:
    return requests.get(f"{url}/api/v1/query", {"query": query}, timeout=5).json()["data"]["result"]


def wait(condition) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.2)
    raise AssertionError("not within 60 s")


def read(server: Prometheus, since: float):
    return server.counts(QUERIES.of("old"), QUERIES.of("new"), since=since, slice_seconds=1.0)


@pytest.mark.fault(
    "rollout",
    "a pod of the candidate restarts: its counters begin again at 0; a status appears for the first time",
    "no request is lost or counted twice",
)
def test_counts_of_both_models_are_what_was_served_over_a_restart(server, pods):
    since = server.now()
    pods["old"].serve(300, 3)
    pods["new"].serve(40, 4)
    wait(lambda: read(server, since).requests.sum(axis=0).tolist() == [303, 44])
    pods["new"].begin()
    pods["new"].serve(20, seconds=0.5)
    wait(lambda: read(server, since).requests.sum(axis=0).tolist() == [303, 64])
    counts = read(server, since)
    assert counts.errors.sum(axis=0).tolist() == [3, 4]
    assert counts.latencies.bounds.tolist() == [0.05, 0.1]
    assert counts.latencies.counts.sum(axis=0).tolist() == [[0, 300, 0], [0, 40, 20]]
    assert (counts.business.mean * counts.business.count).sum(axis=0) == pytest.approx([600, 120])
    assert np.all(np.diff(counts.start) >= 1 - 1e-6)
    assert judge(counts, Settings()).decision == "too little data"


def test_a_query_that_it_does_not_take_is_known_beforehand(server):
    server.check(QUERIES.of("old"))
    with pytest.raises(ConfigurationError, match=r"does not take the query errors \(sum by\): .*parse error"):
        server.check(Queries("up", "sum by"))
    with pytest.raises(ConfigurationError, match="no label `le`"):
        server.counts(Queries("requests_total", "requests_total", "requests_total"), QUERIES.of("new"), since=server.now() - 3, slice_seconds=1.0)


@pytest.mark.fault("rollout", "the metrics of a model are missing, or end", "said, never taken for no requests")
def test_metrics_that_are_missing_or_end_are_said(server, pods, monkeypatch):
    monkeypatch.setattr(module, "_STALE_SECONDS", 2.0)
    with pytest.raises(StoreError, match="has no data of the stable model"):
        server.counts(QUERIES.of("nobody"), QUERIES.of("new"), since=server.now() - 5, slice_seconds=1.0)
    since = server.now() - 2
    pods["ending"].server.shutdown()
    pods["ending"].server.server_close()

    def ended() -> bool:
        try:
            server.counts(QUERIES.of("old"), QUERIES.of("ending"), since=since, slice_seconds=1.0)
        except StoreError as error:
            return "has had no data of the candidate for" in str(error)
        return False

    wait(ended)


@pytest.mark.fault("rollout", "clocks differ: the step began in Prometheus's future", "said")
def test_a_span_in_the_future_is_a_clock_that_differs(server):
    with pytest.raises(StoreError, match="the clocks differ"):
        server.counts(QUERIES.of("old"), QUERIES.of("new"), since=server.now() + 3600)


@pytest.mark.fault("rollout", "the metrics server is gone, or something else answers at its address", "an error in words")
def test_no_prometheus_at_the_address(pods):
    with pytest.raises(StoreError, match="does not answer"):
        Prometheus(f"http://127.0.0.1:{free_port()}", attempts=2).now()
    with pytest.raises(StoreError, match="answers HTTP 501"):
        Prometheus(f"http://127.0.0.1:{pods['old'].server.server_address[1]}", attempts=1).now()
