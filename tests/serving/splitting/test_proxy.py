"""The splitter as a process, in front of real HTTP servers that say who they are."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.ports import free_port


class Model:
    """A server that answers `value`, after `seconds`, with `status`; or closes the connection where `breaks`."""

    def __init__(self, value):
        model = self
        self.value, self.status, self.seconds, self.breaks, self.seen = value, 200, 0.0, False, []

        class Handler(BaseHTTPRequestHandler):
            protocol_version, wbufsize = "HTTP/1.1", -1  # one packet: no waiting for an acknowledgement

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                model.seen.append((self.path, body, self.headers))
                time.sleep(model.seconds)
                if model.breaks:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                answer = json.dumps({"predictions": [model.value] * len(json.loads(body)["instances"])}).encode()
                self.send_response(model.status)
                self.send_header("Content-Length", str(len(answer)))
                self.send_header("X-Own", "yes")
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


class Split:
    """A splitter in front of two models, `old` and `new`."""

    def __init__(self, folder):
        self.models = {"old": Model(0.1), "new": Model(0.9)}
        self.file, self.port, self.revision = folder / "rollout.json", free_port(), 0
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        self.write(weights={"old": 100})
        command = [
            sys.executable,
            "-m",
            "intermodal.serving.splitting.proxy",
            "--routes",
            str(self.file),
            "--http_port",
            str(self.port),
            "--host",
            "127.0.0.1",
        ]
        self.process = subprocess.Popen([*command, "--log", str(folder / "log")], env=os.environ)
        self.wait()

    def write(self, **routes):
        self.revision += 1
        ports = {name: each.port for name, each in self.models.items()}
        content = {"revision": str(self.revision), "stable": "old", "ports": ports, "weights": {}, "mirror": {}, "header": []} | routes
        scratch = self.file.with_suffix(".new")
        scratch.write_text(json.dumps({"routes": content}))
        scratch.replace(self.file)

    def split(self, **routes):
        self.write(**routes)
        self.wait()

    def wait(self):
        for _ in range(500):
            try:
                if self.get("/-/split")["revision"] == str(self.revision):
                    return
            except OSError:
                assert self.process.poll() is None
            time.sleep(0.01)
        raise AssertionError("the split does not hold")

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return json.load(answer)

    def post(self, body=b'{"instances": [1]}', headers=None, path="/v1/models/m:predict"):
        self.connection.request("POST", path, body, headers or {})
        answer = self.connection.getresponse()
        return answer.status, answer.headers["X-Served-By"], json.loads(answer.read())

    def counts(self, member):
        """Return what was counted of a member since `split` was asked for."""
        found = [each["members"][member] for each in self.get("/-/slices")["slices"] if member in each["members"]]
        total = Counter(
            requests=sum(each["requests"] for each in found),
            errors=sum(each["errors"] for each in found),
            answered=sum(sum(each["latencies"]) for each in found),
            high=sum(sum(each["predictions"][10:]) for each in found),
            compared=sum(each["compared"] for each in found),
            agreed=sum(each["agreed"] for each in found),
        )
        return {name: number - self.before.get(member, {}).get(name, 0) for name, number in total.items()}

    def settled(self, member, requests):
        """Wait until so many requests of a member are counted; return its counts."""
        for _ in range(1000):
            if self.counts(member)["requests"] >= requests:
                break
            time.sleep(0.01)
        return self.counts(member)


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    split = Split(tmp_path_factory.mktemp("split"))
    yield split
    split.process.terminate()
    assert split.process.wait(20) == 0
    for each in split.models.values():
        each.server.shutdown()


@pytest.fixture
def split(started):
    for each in started.models.values():
        each.status, each.seconds, each.breaks, each.seen = 200, 0.0, False, []
    started.split(weights={"old": 100})
    time.sleep(0.05)
    started.before = {}
    started.before = {member: started.counts(member) for member in started.models}
    return started


def test_requests_and_answers_pass_as_they_are(split):
    status, member, answer = split.post(
        b'{"instances": [1, 2]}', {"X-Trace": "7", "Content-Type": "application/json"}, "/v1/models/a%2Fb:predict?x=1%202"
    )
    assert (status, member, answer) == (200, "old", {"predictions": [0.1, 0.1]})
    path, body, headers = split.models["old"].seen[0]
    assert (path, body, headers["X-Trace"]) == ("/v1/models/a%2Fb:predict?x=1%202", b'{"instances": [1, 2]}', "7")


def test_the_models_get_the_shares_that_the_file_says_and_each_answer_is_counted(split):
    split.split(weights={"old": 80, "new": 20})
    shares = Counter(split.post()[1] for _ in range(300))
    assert 18 <= shares["new"] <= 102  # 60, six standard deviations
    counted = split.counts("new")
    assert counted["high"] == counted["answered"] == counted["requests"] == shares["new"]
    assert counted["errors"] == 0


def test_a_header_leads_to_the_candidate_and_no_other_value_does(split):
    split.split(weights={"old": 100}, header=["X-Variant", "new", "new"])
    assert [split.post(headers={"x-variant": value})[1] for value in ("new", "old", "")] == ["new", "old", "old"]


def test_copies_are_compared_and_never_returned_also_when_the_candidate_breaks(split):
    split.split(weights={"old": 100}, mirror={"new": 100})
    assert {split.post()[2]["predictions"][0] for _ in range(20)} == {0.1}
    split.settled("new", 20)
    split.models["new"].breaks = True
    assert {split.post()[2]["predictions"][0] for _ in range(10)} == {0.1}
    counted = split.settled("new", 30)
    assert counted == {"requests": 30, "errors": 10, "answered": 20, "high": 20, "compared": 20, "agreed": 0}


def test_what_the_candidate_does_not_answer_the_stable_model_does(split):
    split.split(weights={"new": 100})
    split.models["new"].breaks = True
    assert split.post() == (200, "old", {"predictions": [0.1]})
    split.split(weights={"new": 100}, ports={"old": split.models["old"].port, "new": free_port()})
    assert split.post() == (200, "old", {"predictions": [0.1]})
    assert split.counts("new")["errors"] == 2


def test_an_error_that_a_model_answers_is_returned_and_counted(split):
    split.split(weights={"new": 100})
    split.models["new"].status = 500
    assert split.post()[:2] == (500, "new")
    split.models["new"].status = 400
    assert split.post()[:2] == (400, "new")
    assert split.counts("new")["errors"] == 1


def test_no_model_that_answers_is_an_error_in_words(split):
    split.split(weights={"old": 100}, ports={"old": free_port()})
    assert split.post() == (502, None, {"error": "the model old does not answer"})
    split.split(weights={})
    assert split.post() == (503, None, {"error": "no model serves"})


def test_no_request_is_lost_while_the_shares_change(split):
    failed, done = [], threading.Event()

    def load():
        connection = http.client.HTTPConnection("127.0.0.1", split.port, timeout=10)
        while not done.is_set():
            try:
                connection.request("POST", "/v1/models/m:predict", b'{"instances": [1]}')
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    failed.append(answer.status)
            except Exception as error:
                failed.append(repr(error))
                connection.close()

    threads = [threading.Thread(target=load) for _ in range(3)]
    for each in threads:
        each.start()
    for weight in (0, 10, 50, 90, 100, 0) * 3:
        split.split(weights={"old": 100 - weight, "new": weight})
        time.sleep(0.03)
    done.set()
    for each in threads:
        each.join()
    assert failed == []
    assert min(len(each.seen) for each in split.models.values()) > 10


def test_a_file_that_cannot_be_read_leaves_the_split_as_it_was(split):
    split.split(weights={"new": 100})
    split.file.write_text("{")
    time.sleep(0.2)
    assert split.post()[1] == "new"


def test_a_body_above_the_limit_is_refused(split):
    connection = http.client.HTTPConnection("127.0.0.1", split.port, timeout=20)
    connection.putrequest("POST", "/v1/models/m:predict")
    connection.putheader("Content-Length", str(64 * 2**20 + 1))
    connection.endheaders(b"{")
    answer = connection.getresponse()
    assert answer.status == 413
    assert b"send fewer rows" in answer.read()
    connection.close()
    connection.putrequest("POST", "/v1/models/m:predict")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    with contextlib.suppress(OSError):
        for _ in range(80):
            connection.send(b"%x\r\n%s\r\n" % (2**20, b" " * 2**20))
    assert connection.getresponse().status == 413
