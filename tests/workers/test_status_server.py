"""Progress sent to a server that takes what Kubeflow Trainer's takes: a POST over TLS with the pod's token; on loopback."""

import json
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from intermodal.workers.status_server import StatusServer


@pytest.fixture
def server(tmp_path):
    """Yield the environment of a pod, and the requests that arrived: (path, token, body)."""
    arrived = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            arrived.append((self.path, self.headers["Authorization"], body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "ca")]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *subject, *files], check=True, capture_output=True)
    listening = HTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "ca", tmp_path / "key")
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    (tmp_path / "token").write_text("the-token\n")
    names = {"URL": f"https://127.0.0.1:{listening.server_port}/status", "CA_CERT": str(tmp_path / "ca"), "TOKEN": str(tmp_path / "token")}
    yield {f"KUBEFLOW_TRAINER_SERVER_{name}": value for name, value in names.items()}, arrived
    listening.shutdown()
    listening.server_close()


def test_the_newest_progress_arrives_as_trainers_server_takes_it(server):
    environment, arrived = server
    status = StatusServer(environment)
    status.hear("Traceback, or whatever else is said\n")
    status.hear("epoch 3/12: auc 0.6311, loss 0.5433, val_auc 0.6405, val_loss 0.5369; 0.4 s, 25,247 rows/s\n")
    status.end()
    ((path, token, body),) = arrived
    assert (path, token) == ("/status", "Bearer the-token")
    found = body["trainerStatus"]
    assert found.pop("lastUpdatedTime").endswith("+00:00")
    values = {"auc": "0.6311", "loss": "0.5433", "val_auc": "0.6405", "val_loss": "0.5369"}
    assert found == {"progressPercentage": 25, "metrics": [{"name": name, "value": value} for name, value in values.items()]}


def test_a_step_within_an_epoch_counts_for_its_share_and_the_last_line_is_never_lost(server):
    environment, arrived = server
    status = StatusServer(environment)
    for step in range(1, 11):
        status.hear(f"epoch 1/2, step {step}/10: loss 0.5{step:03}, 25,247 rows/s, at most 40 s left\n")
    status.end()
    assert arrived[-1][2]["trainerStatus"]["progressPercentage"] == 50
    assert len(arrived) <= 2


@pytest.mark.fault("Training", "Kubeflow Trainer's status server refuses or is away", "one line says so, and training goes on")
def test_a_server_that_is_away_is_said_once(server, capsys):
    environment, _ = server
    status = StatusServer(environment | {"KUBEFLOW_TRAINER_SERVER_URL": "https://127.0.0.1:1/"})
    for epoch in range(1, 5):
        status.hear(f"epoch {epoch}/4: loss 0.5000\n")
    status.end()
    assert capsys.readouterr().out.count("status server does not take the progress") == 1


def test_without_an_address_nothing_is_started():
    status = StatusServer({})
    status.hear("epoch 1/2: loss 0.5000\n")
    status.end()
    assert not [each for each in threading.enumerate() if each.name == "status-server"]
