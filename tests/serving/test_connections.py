"""The predictor's process against clients that are slow, many, or lie."""

import contextlib
import json
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.serving.conftest import ROWS

GOOD = ROWS[0]
MOST, HEADER_SECONDS, BODY_SECONDS = 40, 1.5, 1.5


class Server:
    def __init__(self, models, log):
        self.port, self.log = free_port(), log
        limits = ["--most_connections", MOST, "--header_seconds", HEADER_SECONDS, "--body_seconds", BODY_SECONDS]
        where = ["--model_dir", models / "first", "--model_name", "toy", "--host", "127.0.0.1", "--http_port", self.port]
        command = [sys.executable, "-m", "intermodal.serving.predictor", *map(str, [*where, *limits]), "--log", str(log)]
        self.process = subprocess.Popen(command)
        for _ in range(600):
            assert self.process.poll() is None, log.read_text()
            try:
                if self.predict():
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError(log.read_text())

    def predict(self):
        return self.exchange("POST", "/v1/models/toy:predict", json.dumps({"instances": [GOOD]}).encode())[0] == 200

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def exchange(self, method, path, body=b"", **headers):
        """Send one request as it is, and return the status and the body of its answer."""
        lines = [f"{method} {path} HTTP/1.1", "host: localhost", f"content-length: {len(body)}", "connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        with self.connect() as connection:
            connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            return answered(connection)

    @property
    def sockets(self):
        return sum(str(each.readlink()).startswith("socket:") for each in Path(f"/proc/{self.process.pid}/fd").iterdir())


def until(connection, end):
    answer = b""
    while not answer.endswith(end):
        piece = connection.recv(65536)
        assert piece, answer
        answer += piece
    return answer


def answered(connection):
    answer = b""
    while piece := connection.recv(65536):
        answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return (int(head.split()[1]) if head else 0), body


@pytest.fixture(scope="module")
def server(tmp_path_factory, models):
    """A predictor with tight limits."""
    made = Server(models, tmp_path_factory.mktemp("log") / "server.log")
    yield made
    made.process.terminate()
    made.process.wait(20)


@pytest.mark.fault(
    "Serving", "300 connections that send half of their headers and wait", "others are answered meanwhile, and the connections are closed"
)
def test_half_sent_headers_neither_pile_up_nor_keep_others_out(server):
    before = server.sockets
    waiting = [server.connect() for _ in range(300)]
    for each in waiting:
        each.sendall(b"POST /v1/models/toy:predict HTTP/1.1\r\nhost: loc")
    assert server.predict()
    assert server.sockets <= before + MOST + 1
    deadline = time.monotonic() + HEADER_SECONDS + 10
    while server.sockets > before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert server.sockets <= before
    for each in waiting:
        each.close()
    assert server.predict()


@pytest.mark.fault("Serving", "a header sent a byte at a time", "the request is ended with status 408 within the time for headers")
def test_a_header_that_trickles_is_ended(server):
    with server.connect() as connection:
        started = time.monotonic()
        try:
            for byte in b"GET / HTTP/1.1\r\nx: " + b"a" * 1000:
                connection.send(bytes([byte]))
                time.sleep(0.05)
        except OSError:
            pass
        assert time.monotonic() - started < HEADER_SECONDS + 5


def test_the_deadline_counts_again_for_the_second_request_of_a_connection(server):
    with server.connect() as connection:
        connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert b" 200 " in until(connection, b"}")
        time.sleep(HEADER_SECONDS + 0.5)  # idle: it may stay
        connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert b" 200 " in until(connection, b"}")
        connection.sendall(b"GET /v2/health/li")
        assert answered(connection)[0] == 408


@pytest.mark.fault("Serving", "a body that stops half way", "the request is ended with status 408")
def test_a_body_that_stops_is_ended(server):
    with server.connect() as connection:
        connection.sendall(b'POST /v1/models/toy:predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{"inst')
        assert answered(connection)[0] == 408
    assert server.predict()


@pytest.mark.fault("Serving", "as many connections as there may be, each with a body that trickles in", "others are answered meanwhile")
def test_bodies_that_trickle_keep_nobody_out(server):
    waiting = [server.connect() for _ in range(MOST)]
    for each in waiting:
        each.sendall(b"POST /v1/models/toy:predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n{")
    for _ in range(4):
        time.sleep(BODY_SECONDS / 3)
        for each in waiting:
            with contextlib.suppress(OSError):  # the one that waited longest made room
                each.sendall(b" ")
        assert server.predict()
    for each in waiting:
        each.close()


def test_a_body_that_is_slow_but_comes_is_answered(server):
    body = json.dumps({"instances": [GOOD]}).encode()
    with server.connect() as connection:
        connection.sendall(b"POST /v1/models/toy:predict HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body))
        for start in range(0, len(body), 12):
            time.sleep(0.4)
            connection.sendall(body[start : start + 12])
        assert answered(connection)[0] == 200


@pytest.mark.fault("Nobody in", "POST /v2/repository/models/NAME/unload and /load without login", "404; the model goes on serving")
@pytest.mark.parametrize(
    "path", ["/v2/repository/models/toy/unload", "/v2/repository/models/toy/load", "/v2/repository/index", "/v2%2Frepository/models/toy/unload"]
)
def test_no_route_changes_the_server(server, path):
    status, body = server.exchange("POST", path)
    assert status == 404, body
    assert server.exchange("GET", "/v2/health/ready") == (200, b'{"ready":true}')
    assert server.predict()
    assert b"model_repository" not in server.exchange("GET", "/v2")[1]


def binary(head, tail, length):
    return {"body": head + tail, "Inference_Header_Content_Length": length, "Content_Type": "application/octet-stream"}


HEAD = json.dumps({"inputs": [{"name": "hour", "shape": [1], "datatype": "INT64", "parameters": {"binary_data_size": 8}}]}).encode()


@pytest.mark.fault("Serving", "headers and tensors that give a wrong size", "status 400 with a reason; the server goes on")
@pytest.mark.parametrize(
    "request_",
    [
        binary(HEAD, struct.pack("<q", 3), 10**9),
        binary(HEAD, struct.pack("<q", 3), -4),
        binary(HEAD, struct.pack("<q", 3), "many"),
        binary(HEAD, struct.pack("<q", 3), ""),
        binary(HEAD, struct.pack("<q", 3), len(HEAD) - 3),
        binary(HEAD, struct.pack("<q", 3), "9" * 5000),
        binary(HEAD, b"\1\2\3", len(HEAD)),
        binary(HEAD, b"", len(HEAD)),
        *[
            binary(HEAD.replace(b'_size": 8', b'_size": ' + size), struct.pack("<q", 3), len(HEAD) - 1 + len(size))
            for size in (b"-8", b"7", b"1e3", b"null", b'"8"', b"[8]", b"99999999999999999999999")
        ],
        binary(b"[]", b"", 2),
        binary(b'{"inputs": [3]}', b"", 15),
        binary(b'{"inputs": null}', b"", 16),
        {"body": b"{}", "ce_specversion": "9", "ce_id": "1", "ce_source": "x", "ce_type": "y", "Content_Type": "application/json"},
    ],
)
@pytest.mark.parametrize("path", ["/v2/models/toy/infer"])
def test_sizes_that_lie_are_the_clients_error(server, path, request_):
    status, body = server.exchange("POST", path, **request_)
    assert status == 400, body
    assert json.loads(body)["error"]
    assert server.predict()


@pytest.mark.fault("Serving", "random bytes changed in a binary request (headers and body)", "status 200, 400 or 4xx, never 500; the server goes on")
def test_a_damaged_request_is_never_a_server_error(server, fault_random):
    body = HEAD + struct.pack("<q", 3)
    head = f"POST /v2/models/toy/infer HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\nconnection: close\r\n"
    whole = (head + f"inference-header-content-length: {len(HEAD)}\r\ncontent-type: application/octet-stream\r\n\r\n").encode() + body
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(fault_random.randint(1, 4)):
            damaged[fault_random.randrange(len(damaged))] = fault_random.randrange(256)
        with server.connect() as connection:
            connection.sendall(damaged)
            connection.shutdown(socket.SHUT_WR)
            status, answer = answered(connection)
        assert status < 500 or status in (501, 505), (bytes(damaged), answer)
    assert server.predict()


def test_its_log_rotates_and_keeps_what_c_libraries_print(tmp_path):
    code = """
import logging, os, sys
from pathlib import Path
from intermodal.serving.log_file import log_to
log_to(Path(sys.argv[1]), largest=10_000, kept=2)
for number in range(1000):
    logging.getLogger("a.b").warning("line %d", number)
    os.write(2, b"native %d\\n" % number)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "log")], check=True)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["log", "log.1", "log.2"]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 40_000
    last = (tmp_path / "log").read_text()
    assert "line 999" in last
    assert "native 999" in last


def test_a_served_models_log_is_the_rotated_one(served):
    arguments = Path(f"/proc/{served.record.pid}/cmdline").read_text().split("\0")
    assert arguments[arguments.index("--log") + 1] == served.record.log
    assert "INFO uvicorn.error: Application startup complete." in Path(served.record.log).read_text()
