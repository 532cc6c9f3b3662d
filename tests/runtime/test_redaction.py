"""Passwords in texts and settings: found wherever a person puts one, hidden wherever one is shown, and nothing else touched."""

import io
import json
import os
import subprocess
import sys
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intermodal.runtime import redaction
from intermodal.runtime.errors import ConfigurationError, StoreError, TaskError
from intermodal.runtime.redaction import find_secret, redact_file, redacted, redacted_settings, remember
from intermodal.runtime.secret_values import named_variables, refuse_secrets, with_variables

CANARY = "Tr0ub4dor"

#: Where people put passwords, the canary in the place of each.
PLACES = [
    "postgresql+psycopg://feast:CANARY@db:5432/feast",
    "redis://:CANARY@redis:6379/0",
    "https://me:CANARY@mlflow.example/path?x=1",
    "s3://AKIAEXAMPLE:CANARY@bucket/rows.csv",
    "postgresql://db/feast?user=me&password=CANARY",
    "postgresql://db/feast?sslmode=require&sslpassword=CANARY&x=1",
    "https://host/x?access_token=CANARY",
    "https://host/x?token=CANARY",
    "https://account.blob.example/rows.csv?sv=1&sig=CANARY",
    "https://bucket.example/rows.csv?X-Amz-Signature=CANARY&X-Amz-Security-Token=CANARY",
    "localhost:6379,password=CANARY,ssl=true",
    "host=db user=me password=CANARY dbname=feast",
    "host=db user=me password='CANARY with blanks' dbname=feast",
    "--password=CANARY",
    "Server=db;Password=CANARY;",
    "mongodb+srv://me:CANARY@cluster.example/?retryWrites=true",
    "postgresql://me:CANARY/with/slash@db/feast",
    "postgresql://me:CANARY@with@at@db/feast",
    "postgresql://me:12CANARY'quote@db/feast",
]


def planted(place, secret=CANARY):
    return place.replace("CANARY", secret)


@pytest.mark.fault("Nobody in", "a password in a URI, a query, a connection string or an option", "found as a setting, hidden in every text")
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("around", ["{}", "cannot reach {}: refused", "'{}'", '{{"uri": "{}", "mail": "a@b"}}', "    engine = connect({!r})"])
def test_a_password_is_hidden_wherever_it_stands(place, around):
    text = around.format(planted(place))
    assert CANARY not in redacted(text)
    assert redacted(redacted(text)) == redacted(text)


@pytest.mark.parametrize("place", PLACES)
def test_a_password_in_a_setting_is_found_and_its_place_named(place):
    assert find_secret({"features": {"store": {"a": ["b", planted(place)]}}}) == "features.store.a.1"
    with pytest.raises(ConfigurationError, match=r"a\.yaml: stores\.model_registry carries a password") as caught:
        refuse_secrets({"stores": {"model_registry": planted(place)}}, "a.yaml")
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("place", [*PLACES, "postgresql://me:CANARY and blanks@db/feast", "postgresql://me:%43ANARY%40@db"])
def test_the_name_of_a_variable_in_its_place_is_no_secret(place):
    named = place.replace("CANARY and blanks", "${DB_PASSWORD}").replace("%43ANARY%40", "${DB_PASSWORD}")
    for extra in (" with blanks", "/with/slash", "@with@at", "'quote"):
        named = named.replace(f"CANARY{extra}", "CANARY")
    named = named.replace("12CANARY", "CANARY").replace("CANARY", "${DB_PASSWORD}")
    assert find_secret(named) is None
    assert redacted(f"cannot reach {named}: refused") == f"cannot reach {named}: refused"
    assert find_secret(place) is not None


@pytest.mark.parametrize(
    "key",
    ["password", "redis_password", "sslpassword", "PGPASSWORD", "client-secret", "api_key", "private_key_passphrase", "token", "aws_session_token"],
)
def test_a_password_under_a_key_that_is_named_so_is_found_and_hidden(key):
    settings = {"online_store": {"type": "x", key: CANARY}}
    assert find_secret(settings) == f"online_store.{key}"
    assert find_secret({"online_store": {key: "${NAME}"}}) is None
    assert redacted_settings(settings) == {"online_store": {"type": "x", key: "***"}}
    for text in (
        repr(settings),
        json.dumps(settings),
        f"online_store: {{{key}: {CANARY}}}",
        f"online_store:\n  {key}: {CANARY}\n",
        json.dumps(json.dumps(settings)),
    ):
        assert CANARY not in redacted(text), text


@pytest.mark.parametrize(
    "harmless",
    [
        {"hyperparameters": {"pad_token": "[PAD]", "tokens": "5", "secretary": "Ann"}},
        {"sources": [{"columns": {"password": "string", "token": "int64"}}]},
        {"secrets": [{"name": "mlflow", "env": {"MLFLOW_TRACKING_PASSWORD": "password"}}]},
        {"password": "", "token": None, "api_key": 5},
        {"online_store": {"private_key": "/keys/feast.p8", "credentials": "~/.config/feast.json"}, "signature": "serving_default"},
        {"token": {"file": "/var/run/token"}, "ttl": {"key": "a"}},
        {"uri": "http://127.0.0.1:8080/a@b", "other": "https://host:8443/rows@2024.csv"},
        {"uri": "redis:6379", "x": "postgresql://me@db:5432/feast", "y": "data/token=abc/rows.parquet", "z": "sqlite:////home/a:b@c/mlflow.db"},
        {"uri": "gs://bucket/a.csv", "title": "Wrong password: what customers say, and their secrets"},
    ],
)
def test_what_is_no_secret_stays(harmless):
    refuse_secrets(harmless, "a.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "model registry http://127.0.0.1:5000: no answer; start the server",
        "stores.model_registry sqlite:////home/me/mlflow.db: give http(s)://",
        "https://host:8443/rows@2024.csv: no such file",
        "Call it  curl -s http://127.0.0.1:8080/v1/models/flight-delay:predict -H 'Content-Type: application/json' -d @request.json",
        "12:30:01 http://a:1 http://b:2, mail me@example.org",
        "basic authentication failed; the password is wrong: ask for a new one",
        '10.0.0.1 - "GET /v2/models/x HTTP/1.1" 200 OK',
    ],
)
def test_other_texts_stay_as_they_are(text):
    assert redacted(text) == text


@pytest.mark.parametrize(
    "token",
    ["ya29." + "a" * 30, "ghp_" + "a" * 36, "AKIAIOSFODNN7EXAMPLE", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "xoxb-123456789012-abc"],
)
def test_a_token_is_known_by_its_shape(token):
    assert token not in redacted(f"sent {token} there")
    assert token not in redacted(f"{{'Authorization': 'Bearer {token}'}}")
    assert find_secret({"labels": {"a": token}}) == "labels.a"


def test_a_header_and_a_key_are_hidden():
    assert "dXNlcjpwYXNz" not in redacted("Authorization: Basic dXNlcjpwYXNz")
    assert "MIIE" not in redacted("-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----\n")


@given(st.text(st.characters(exclude_characters="*", min_codepoint=33, max_codepoint=0x2FF), min_size=4).filter(lambda each: not each.isdigit()))
def test_any_password_that_is_percent_encoded_is_found_and_hidden(password):
    uri = f"postgresql://me:{quote(password, safe='')}@db:5432/feast"
    if not redaction._HARMLESS.fullmatch(quote(password, safe="")):
        assert find_secret(uri) == ""
        assert redacted(f"cannot reach {uri}") == "cannot reach postgresql://me:***@db:5432/feast"


@given(st.text(), st.lists(st.sampled_from(["://", ":", "@", "password", "=", "'", '"', "${A}", " ", "{", "token", "\n"]), max_size=12))
def test_any_text_can_be_redacted_twice(text, pieces):
    once = redacted(text + "x".join(pieces))
    assert redacted(once) == once


@pytest.mark.fault("Nobody in", "a password of digits, which YAML and TOML read as a number", "found as a setting, hidden where settings are shown")
def test_a_password_of_digits_is_found_and_hidden():
    assert find_secret({"online_store": {"password": 12345678}}) == "online_store.password"
    assert redacted_settings({"online_store": {"password": 12345678, "port": 6379}}) == {"online_store": {"password": "***", "port": 6379}}
    harmless = {"first_pass": 2, "password": False, "columns": {"token": 12345678}, "port": 6379}
    assert find_secret(harmless, ignored=frozenset({"columns"})) is None


def test_long_texts_take_no_long_time():
    started = time.process_time()
    for piece in ("a", "a:", "://", "x://y:", "password", "'", "{", "'a", "password=", "{token:", "-", " ", "- ", "a-"):
        redacted(piece * (100_000 // len(piece)))
    assert time.process_time() - started < 30


@pytest.fixture
def secret(monkeypatch):
    monkeypatch.setattr(redaction, "_remembered", {})
    monkeypatch.setenv("FEAST_PASSWORD", "p@ss/w\\rd é")
    return os.environ["FEAST_PASSWORD"]


def test_what_a_variable_holds_is_hidden_in_any_form(secret):
    for form in (secret, quote(secret), quote(secret, safe=""), repr(secret), quote_plus(secret)):
        assert "w\\rd" not in redacted(f"cannot log in with {form}!")
        assert "ss%2F" not in redacted(f"cannot log in with {form}!")
    assert redacted(f"with {secret}") == "with ${FEAST_PASSWORD}"


def test_errors_hide_what_they_quote(secret):
    assert str(StoreError(f"registry: no answer from postgresql://u:{CANARY}@h")) == "registry: no answer from postgresql://u:***@h"
    error = TaskError("fit", f"login as u with {secret} failed", "log.txt")
    assert secret not in str(error) + error.sentence


def test_a_setting_takes_the_environments_value_and_no_message_shows_it(secret, monkeypatch):
    monkeypatch.setenv("SHORT", "abc123")
    settings = {"registry": {"path": "postgresql://u:${SHORT}@h/${FEAST_PASSWORD}"}, "ports": [1, "${SHORT}"]}
    assert named_variables(settings) == {"SHORT", "FEAST_PASSWORD"}
    assert with_variables(settings, "feature_store")["ports"] == [1, "abc123"]
    assert redacted("password abc123 of u; abc1234 stays") == "password ${SHORT} of u; abc1234 stays"
    monkeypatch.delenv("SHORT")
    with pytest.raises(ConfigurationError, match=r"feature_store\.registry\.path: the variable SHORT is not set"):
        with_variables(settings, "feature_store")


def test_what_was_remembered_is_hidden(secret):
    remember("0a1b2c3d4e5f")
    assert redacted("Bearer 0a1b2c3d4e5f") == "Bearer ***"


TASK = """
import logging, sys
logging.basicConfig(stream=sys.stderr)
import intermodal
print("to", "postgresql://u:{canary}@h")
logging.error("cannot reach redis://:{canary}@h")
import os
print(os.environ["FEAST_PASSWORD"], file=sys.stderr)
try:
    raise OSError("connection to postgresql://u:{canary}@h failed")
except OSError as error:
    raise RuntimeError("no store") from error
"""


@pytest.mark.fault(
    "Nobody in", "a library prints, logs and raises a URI with a password in a task", "the task's log does not show it, its traceback neither"
)
def test_a_tasks_process_prints_no_password():
    environment = os.environ | {"_KFP_RUNTIME": "true", "FEAST_PASSWORD": CANARY * 2}
    done = subprocess.run(
        [sys.executable, "-c", TASK.format(canary=CANARY)], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert CANARY not in done.stdout + done.stderr
    assert "to postgresql://u:***@h" in done.stdout
    assert done.stderr.count("***@h") == 2 + done.stderr.count("raise OSError")
    assert "${FEAST_PASSWORD}" in done.stderr


def test_another_process_is_left_alone():
    done = subprocess.run(
        [sys.executable, "-c", "import intermodal; print('redis://:x@h')"],
        env={key: value for key, value in os.environ.items() if key != "_KFP_RUNTIME"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "redis://:x@h\n"


def test_a_stream_is_guarded_once_and_says_how_much_it_took(monkeypatch):
    stream = type("Stream", (io.StringIO,), {})()
    monkeypatch.setattr(sys, "stdout", stream)
    redaction.guard()
    first = stream.write
    redaction.guard()
    assert stream.write is first
    assert stream.write("redis://:x@h") == len("redis://:x@h")
    assert stream.getvalue() == "redis://:***@h"


def test_a_log_is_redacted_in_place_and_one_without_a_secret_not_touched(tmp_path):
    log = tmp_path / "log.txt"
    redact_file(log)
    log.write_bytes(b"a\n\xff redis://:x@h\nb")
    redact_file(log)
    assert log.read_bytes() == b"a\n\xff redis://:***@h\nb"
    before = log.stat()
    redact_file(log)
    assert (log.stat().st_ino, log.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert [each.name for each in tmp_path.iterdir()] == ["log.txt"]
