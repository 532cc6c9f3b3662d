"""Vertex AI's endpoints that really serve, and the way there: an HTTPS proxy, as companies have them, that leads to loopback.

Google's launchers call `https://REGION-aiplatform.googleapis.com` and nothing else. They honour the usual variables of a proxy and a private
certificate authority, so they run here unchanged, from their command line to the bytes they send.
"""

import json
import os
import re
import select
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.cloud.aiplatform_v1 import types

from intermodal.authoring.images import image_of
from intermodal.execution.environments import environment
from tests.servers.faults import FaultyServer, Refusal, Request, _Handler
from tests.servers.storage import free_port
from tests.servers.vertex import VertexServer, _found, _page, _strictly

_PREDICT = re.compile(r"/v1/(projects/[^/]+/locations/[^/]+/endpoints/[^/:]+):predict")
_SOURCE = Path(__file__).resolve().parents[2] / "src"


class ServingVertex(VertexServer):
    """Runs the container of a deployed model, its image's environment in the image's place, and passes predictions on to it.

    Args:
        folder: For the containers' logs.
    """

    token = "opaque"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._containers: dict[str, tuple[subprocess.Popen[bytes], str]] = {}

    def respond(self, request: Request, state: Any) -> tuple[int, Any]:
        if request.path == "/token":
            if parse_qs(request.body.decode()).get("grant_type") != ["urn:ietf:params:oauth:grant-type:jwt-bearer"]:
                raise Refusal(400, "invalid grant")
            return 200, {"access_token": self.token, "expires_in": 3600, "token_type": "Bearer"}
        if request.method == "POST" and (match := _PREDICT.fullmatch(request.path)):
            if request.headers.get("authorization") != f"Bearer {self.token}":
                raise Refusal(401, "Request is missing required authentication credential.")
            return self._predict(match[1], request, state)
        return super().respond(request, state)

    def end(self) -> None:
        """End the containers."""
        for process, _ in self._containers.values():
            process.terminate()
            process.wait(20)

    def _on_list_models(self, request: Any, state: Any) -> Any:
        return _page(state["models"], request, "models", newest_first=False)

    def _on_deploy_model(self, request: Any, state: Any) -> Any:
        done = super()._on_deploy_model(request, state)
        deployed = state["endpoints"][request.endpoint]["deployedModels"][-1]
        deployed["model"], _, deployed["modelVersionId"] = deployed["model"].partition("@")  # so the service answers, and gcpc's launcher expects
        model = state["models"][deployed["model"]]
        self._containers[f"{request.endpoint}/{deployed['id']}"] = self._started(model, deployed["id"])
        return done

    def _on_undeploy_model(self, request: Any, state: Any) -> Any:
        endpoint = _found(state["endpoints"], request.endpoint)
        if request.deployed_model_id not in [each["id"] for each in endpoint.get("deployedModels", [])]:
            raise Refusal(404, f"DeployedModel {request.deployed_model_id!r} is not found")
        split = dict(request.traffic_split)
        if split and (sum(split.values()) != 100 or split.keys() - {each["id"] for each in endpoint["deployedModels"]}):
            raise Refusal(400, "traffic_split must sum to 100 over models that are deployed")
        if len(endpoint["deployedModels"]) == 1:  # "if last DeployedModel is being undeployed, traffic_split will always end up empty"
            endpoint["trafficSplit"] = {}
        elif split:
            endpoint["trafficSplit"] = split
        if endpoint.get("trafficSplit", {}).get(request.deployed_model_id):
            raise Refusal(400, f"DeployedModel {request.deployed_model_id!r} has traffic; update the traffic split first")
        return super()._on_undeploy_model(request, state)

    def _started(self, model: dict[str, Any], identifier: str) -> tuple["subprocess.Popen[bytes]", str]:
        """Start a container as the service does, by its specification and the AIP variables, but on a free port."""
        container, port = model["containerSpec"], free_port()
        told = {
            "AIP_HTTP_PORT": str(port),
            "AIP_PREDICT_ROUTE": container["predictRoute"],
            "AIP_HEALTH_ROUTE": container["healthRoute"],
            "AIP_STORAGE_URI": model["artifactUri"],
        }
        programs = environment(str(image_of(container["imageUri"]))).parent
        inside = {"PATH": f"{programs}{os.pathsep}{os.defpath}", "PYTHONPATH": str(_SOURCE), "HOME": str(self._folder)}
        log = self._folder / f"container-{identifier}.log"
        with log.open("wb") as file:
            process = subprocess.Popen([*container["command"], *container["args"]], env=inside | told, stdout=file, stderr=file, cwd=self._folder)
        for _ in range(600):
            if process.poll() is not None:
                raise Refusal(400, f"Model server terminated: {log.read_text()[-500:]}")
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{container['healthRoute']}", timeout=5).close()
                return process, f"http://127.0.0.1:{port}{container['predictRoute']}"
            except OSError:
                time.sleep(0.1)
        raise Refusal(400, "Model server never became ready")

    def _predict(self, name: str, request: Request, state: Any) -> tuple[int, Any]:
        endpoint = _found(state["endpoints"], name)
        _strictly(request.json() | {"endpoint": name}, types.PredictRequest.pb(types.PredictRequest()), "predict")
        identifier = max(endpoint.get("trafficSplit", {}).items(), key=lambda each: each[1], default=("", 0))[0]
        if f"{name}/{identifier}" not in self._containers:
            raise Refusal(404, "The endpoint has no deployed model")
        asked = urllib.request.Request(self._containers[f"{name}/{identifier}"][1], request.body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                return 200, json.load(answer) | {"deployedModelId": identifier}
        except urllib.error.HTTPError as error:
            raise Refusal(error.code, error.read().decode()) from error


@contextmanager
def job_service(folder: Path, port: int) -> Iterator[list[Any]]:
    """Serve batch prediction jobs over gRPC, which is how their client asks, with `https_proxy`'s certificate; yields the jobs, done at once."""
    jobs: list[Any] = []

    def create(request: Any, context: Any) -> Any:
        if not dict(context.invocation_metadata()).get("authorization", "").startswith("Bearer "):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "Request is missing required authentication credential.")
        job = request.batch_prediction_job
        if not all(uri.startswith("gs://") for uri in job.input_config.gcs_source.uris):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "gcs_source.uris must start with gs://")
        job.name, job.state = f"{request.parent}/batchPredictionJobs/{len(jobs)}", types.JobState.JOB_STATE_SUCCEEDED
        job.output_info.gcs_output_directory = f"{job.output_config.gcs_destination.output_uri_prefix}/prediction-{len(jobs)}"
        jobs.append(job)
        return job

    def get(request: Any, context: Any) -> Any:
        return next(each for each in jobs if each.name == request.name)

    answer = types.BatchPredictionJob.serialize
    methods = {
        "CreateBatchPredictionJob": grpc.unary_unary_rpc_method_handler(create, types.CreateBatchPredictionJobRequest.deserialize, answer),
        "GetBatchPredictionJob": grpc.unary_unary_rpc_method_handler(get, types.GetBatchPredictionJobRequest.deserialize, answer),
    }
    with grpc_service("google.cloud.aiplatform.v1.JobService", methods, folder, port):
        yield jobs


@contextmanager
def grpc_service(name: str, methods: dict[str, Any], folder: Path, port: int) -> Iterator[None]:
    """Serve the handlers of a gRPC service with the certificate of `https_proxy`."""
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))
    pair = ((folder / "key.pem").read_bytes(), (folder / "certificate.pem").read_bytes())
    server.add_secure_port(f"127.0.0.1:{port}", grpc.ssl_server_credentials([pair]))
    server.start()
    try:
        yield
    finally:
        server.stop(0).wait(5)


@contextmanager
def https_proxy(server: FaultyServer, host: str, folder: Path, tunnel: int = 0) -> Iterator[dict[str, str]]:
    """Lead HTTPS calls of one host to a server of ours; yields the variables that a program needs for it, credentials included.

    Args:
        server: Is running.
        host: The name, for which there is a certificate in `folder` then.
        folder: For `certificate.pem`, `key.pem` and a service account's key, whose tokens the server's `/token` gives.
        tunnel: A port of this machine that takes the calls over gRPC instead, TLS included.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    certificate, secret = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(_certificate(key, host))
    secret.write_bytes(private)
    account = {"type": "service_account", "client_email": "a@p.iam.gserviceaccount.com", "private_key_id": "1", "project_id": "my-project"}
    (folder / "account.json").write_text(json.dumps(account | {"private_key": private.decode(), "token_uri": f"{server.url}/token"}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, secret)
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), type("Proxy", (_Proxy,), {"owner": server, "context": context, "host": host, "tunnel": tunnel}))
    proxy.daemon_threads = True
    threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield {
            "HTTPS_PROXY": f"http://127.0.0.1:{proxy.server_port}",
            "https_proxy": f"http://127.0.0.1:{proxy.server_port}",
            "NO_PROXY": "127.0.0.1",
            "REQUESTS_CA_BUNDLE": str(certificate),
            "SSL_CERT_FILE": str(certificate),
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(certificate),
            "GOOGLE_APPLICATION_CREDENTIALS": str(folder / "account.json"),
        }
    finally:
        proxy.shutdown()
        proxy.server_close()


class _Proxy(_Handler):
    context: ssl.SSLContext
    host: str
    tunnel: int

    def do_CONNECT(self) -> None:
        if self.path != f"{self.host}:443":
            self.send_error(502, f"{self.path} is not served here")
            return
        self.send_response_only(200)
        self.end_headers()
        if self.tunnel and b"\x02h2" in self.connection.recv(4096, socket.MSG_PEEK):  # the protocol that the client's greeting names
            self._pass_on()
            return
        self.connection = self.context.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")
        self.close_connection = False

    def _pass_on(self) -> None:
        with socket.create_connection(("127.0.0.1", self.tunnel)) as inner:
            other = {self.connection: inner, inner: self.connection}
            while True:
                for end in select.select(list(other), [], [], 30)[0]:
                    if not (data := end.recv(65536)):
                        return
                    other[end].sendall(data)


def _certificate(key: rsa.RSAPrivateKey, host: str) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = datetime.now(UTC)
    usage = dict.fromkeys(("content_commitment", "data_encipherment", "key_agreement", "crl_sign", "encipher_only", "decipher_only"), False)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - timedelta(minutes=5), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, key_encipherment=True, key_cert_sign=True, **usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
