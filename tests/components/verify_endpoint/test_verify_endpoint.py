"""What `verify_endpoint` promises, to a service on loopback that answers as a managed endpoint does."""

import json
import shlex
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from intermodal.components.verify_endpoint import logic
from intermodal.components.verify_endpoint.logic import verify_endpoint
from intermodal.runtime.errors import ConfigurationError, DeploymentError, StoreError
from tests.servers.faults import Fault, FaultyServer, Refusal
from tests.serving.conftest import ROWS, SIGNATURE, probability

PREDICT = "/v1/projects/p/locations/l/endpoints/7:predict"


class Endpoint(FaultyServer):
    """Answers predictions with a bias, and gives tokens to service accounts."""

    token = ""

    def respond(self, request, state):
        if request.path == "/token":
            grant = parse_qs(request.body.decode())
            assert grant["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
            return 200, {"access_token": "opaque", "expires_in": 3600, "token_type": "Bearer"}
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            raise Refusal(401, "Request is missing required authentication credential.")
        if request.path != PREDICT or request.method != "POST":
            raise Refusal(404, "not found")
        biases = state.setdefault("biases", [0.0])
        bias = biases.pop(0) if len(biases) > 1 else biases[0]
        rows = request.json()["instances"]
        return 200, {"predictions": [probability(row, bias) for row in rows], "deployedModelId": "9", "modelVersionId": "2"}


@pytest.fixture
def endpoint():
    with Endpoint().running() as server:
        yield server


@pytest.fixture
def ask(tmp_path, endpoint, monkeypatch):
    monkeypatch.setattr(logic, "_PAUSE", 0.05)
    (tmp_path / "signature.json").write_text(json.dumps(SIGNATURE))
    (tmp_path / "smoke.json").write_text(json.dumps({"instances": ROWS, "probabilities": [probability(row, 0.0) for row in ROWS]}))
    (tmp_path / "registration.json").write_text(json.dumps({"version": "3"}))
    places = {name: str(tmp_path) for name in ("model_path", "evaluation_path", "registration_path")}

    def asked(url=PREDICT, credentials="none", timeout=120.0, **changes):
        output = tmp_path / "deployment"
        given = {**places, "url": endpoint.url + url, "credentials": credentials, "timeout": timeout, "tolerance": 1e-4, "name": "toy", "version": ""}
        verify_endpoint(**given | changes, deployment_path=str(output))
        return json.loads((output / "deployment.json").read_text())

    asked.output = tmp_path / "deployment"
    return asked


def test_a_service_that_answers_right_is_described(ask, endpoint):
    url = endpoint.url + PREDICT
    record = ask()
    assert record["request"] == {"instances": ROWS[-1:]}
    assert record["response"] == {"predictions": [pytest.approx(probability(ROWS[-1], 0.0))]}
    assert {key: record[key] for key in ("name", "url", "version", "protocols")} == {
        "name": "toy",
        "url": url,
        "version": "3",
        "protocols": {"v1": url},
    }
    assert json.loads(shlex.split(record["command"])[-1]) == record["request"]
    assert "gcloud" not in record["command"]


def test_a_service_that_is_late_or_still_answers_as_before_is_asked_again(ask, endpoint):
    endpoint.faults = [Fault("status", status=503), Fault("cut"), Fault("status", status=429)]
    endpoint.state["biases"] = [1.0, 1.0, 0.0]
    assert ask()["version"] == "3"
    assert len(endpoint.requests) == 7  # six until it was right, one for the record


def test_a_service_that_stays_wrong_is_refused_and_nothing_is_written(ask, endpoint):
    endpoint.state["biases"] = [1.0]
    with pytest.raises(DeploymentError, match=r"row 0 of smoke\.json"):
        ask(timeout=0.3)
    assert not ask.output.exists()


def test_a_refusal_is_final(ask, endpoint):
    endpoint.token = "other"
    with pytest.raises(DeploymentError, match=r"HTTP 401.*missing required authentication"):
        ask()
    assert len(endpoint.requests) == 1


def test_application_default_credentials_are_sent_as_a_bearer_token(ask, endpoint, tmp_path, monkeypatch):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    account = {"type": "service_account", "client_email": "a@p.iam.gserviceaccount.com", "private_key_id": "1", "project_id": "p"}
    (tmp_path / "key.json").write_text(json.dumps(account | {"private_key": pem.decode(), "token_uri": f"{endpoint.url}/token"}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    endpoint.token = "opaque"
    record = ask(credentials="google")
    assert '-H "Authorization: Bearer $(gcloud auth print-access-token)"' in record["command"]
    assert "opaque" not in json.dumps(record)


def test_without_credentials_it_says_what_to_do(ask, tmp_path, monkeypatch):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "absent.json"))
    with pytest.raises(StoreError, match=r"no Application Default Credentials .*gcloud auth"):
        ask(credentials="google")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"credentials": "mine"}, "credentials: .* must be one of none, google"),
        ({"timeout": 0.0}, "timeout: 0.0 must be above 0"),
        ({"name": ""}, "name: it must not be empty"),
    ],
)
def test_an_argument_out_of_range_is_refused(ask, changes, words):
    with pytest.raises(ConfigurationError, match=words):
        ask(**changes)


def test_an_evaluation_and_a_url_are_enough(ask):
    record = ask(model_path=None, registration_path=None)
    assert (record["version"], record["tested"]) == ("", "4 rows of the evaluation got the expected answers over V1, within 0.0001")
