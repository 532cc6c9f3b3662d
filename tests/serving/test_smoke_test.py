"""The smoke test that every way of serving shares."""

import http.server
import json
import math
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intermodal.runtime.errors import DataError, DeploymentError
from intermodal.serving.smoke_test import SmokeTest, post_json

INPUTS = [
    {"name": "hour", "type": "integer", "required": True},
    {"name": "carrier", "type": "string", "required": False},
    {"name": "distance", "type": "number", "required": True},
]


def answer(row) -> float:
    return (row["hour"] + row["distance"] + len(row.get("carrier") or "")) / 1000


def server(path, body, change=lambda answers: answers):
    """Answer as the predictor does: a null in a required column is refused."""
    if path == "v1/models/toy:predict":
        rows = body["instances"]
    else:
        assert path == "v2/models/toy/infer"
        assert [(each["name"], each["datatype"]) for each in body["inputs"]] == [("hour", "INT64"), ("carrier", "BYTES"), ("distance", "FP64")]
        assert {tuple(each["shape"]) for each in body["inputs"]} == {(len(body["inputs"][0]["data"]),)}
        rows = [
            dict(zip(("hour", "carrier", "distance"), values, strict=True)) for values in zip(*(each["data"] for each in body["inputs"]), strict=True)
        ]
    if any(row.get("hour") is None or row.get("distance") is None for row in rows):
        raise DeploymentError("HTTP 400: instances[0].hour is missing or null")
    answers = change([answer(row) for row in rows])
    return {"predictions": answers} if path.startswith("v1") else {"outputs": [{"name": "probability", "data": answers}]}


def smoke_test(folder, rows, probabilities=None, tolerance=None) -> SmokeTest:
    (folder / "signature.json").write_text(json.dumps({"inputs": INPUTS}))
    expected = probabilities or [answer(row) if row.get("hour") is not None and row.get("distance") is not None else 0.5 for row in rows]
    (folder / "smoke.json").write_text(json.dumps({"instances": rows, "probabilities": expected}))
    return SmokeTest.read(str(folder), str(folder), tolerance)


nullable = st.fixed_dictionaries(
    {"hour": st.none() | st.integers(0, 23), "distance": st.none() | st.floats(0, 900)}, optional={"carrier": st.sampled_from([None, "", "AA", "é"])}
)


@pytest.mark.fault(
    "Serving", "rows of the smoke test have nulls, in columns that the model requires too", "such rows are not sent; the others must be right"
)
@given(rows=st.lists(nullable, min_size=1, max_size=8))
def test_rows_with_a_null_in_a_required_column_are_not_sent_and_all_others_are(tmp_path_factory, rows):
    whole = [row for row in rows if row["hour"] is not None and row["distance"] is not None]
    folder = tmp_path_factory.mktemp("smoke")
    if not whole:
        with pytest.raises(DataError, match=r"smoke\.json: no row has all columns that the model requires"):
            smoke_test(folder, rows)
        return
    asked = []
    exchange = smoke_test(folder, rows).run("toy", lambda path, body: (asked.append((path, body)), server(path, body))[1])
    assert exchange == {"request": {"instances": whole[-1:]}, "response": {"predictions": [answer(whole[-1])]}}
    assert [path for path, _ in asked] == ["v1/models/toy:predict", "v1/models/toy:predict", "v2/models/toy/infer"]
    assert asked[0][1] == {"instances": whole}


ROWS = [{"hour": None, "distance": 3.0}, {"hour": 1, "distance": 2.0}, {"hour": 5, "distance": 7.0}]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda answers: [answers[0], answers[1] + 2e-4],
            r"answers 0\.0122 over V1 for row 2 of smoke\.json, where 0\.012 is expected within 0\.0001",
        ),
        (lambda answers: [answers[0], math.nan], r"answers nan over V1 for row 2"),
        (lambda answers: [answers[0], None], r"answers None over V1 for row 2"),
        (lambda answers: [answers[0], [answers[1]]], r"answers \[0\.012\] over V1 for row 2"),
        (lambda answers: answers[:1], r"answers \[0\.003\] over V1 to 2 rows"),
        (lambda answers: {"not": "a list"}, r"answers \{'not': 'a list'\} over V1 to 2 rows"),
    ],
)
def test_an_answer_that_is_not_the_expected_one_is_told_with_its_row(tmp_path, change, words):
    with pytest.raises(DeploymentError, match=words):
        smoke_test(tmp_path, ROWS).run("toy", lambda path, body: server(path, body, change))


@pytest.mark.parametrize("answered", [[], None, "text", {"outputs": []}, {"outputs": [[]]}, {"outputs": [{"data": [0.003, 0.013]}]}])
def test_a_server_that_is_wrong_over_v2_alone_is_refused(tmp_path, answered):
    with pytest.raises(DeploymentError, match="over V2"):
        smoke_test(tmp_path, ROWS).run("toy", lambda path, body: server(path, body) if path.startswith("v1") else answered)


def test_a_difference_within_the_tolerance_is_fine(tmp_path):
    smoke_test(tmp_path, ROWS, tolerance=1e-3).run("toy", lambda path, body: server(path, body, lambda answers: [each + 9e-4 for each in answers]))


@pytest.mark.fault("Serving", "an answer that breaks off, is a page, is no HTTP, or is nested 100,000 deep", "one sentence")
@pytest.mark.parametrize(
    ("answered", "words"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}", "does not answer: IncompleteRead"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", "answers with no JSON"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"[" * 100_000, "answers with no JSON"),
        (b"SSH-2.0-x\r\n", "does not answer"),
        (b"", "does not answer"),
    ],
)
def test_an_answer_that_cannot_be_read_is_one_sentence(answered, words):
    class Handler(http.server.BaseHTTPRequestHandler):
        def handle_one_request(self):
            self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            self.rfile.read(2)
            self.wfile.write(answered)
            self.close_connection = True

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(DeploymentError, match=words) as refused:
            post_json(f"http://127.0.0.1:{server.server_port}/v1/models/m:predict", {})
        server.shutdown()
    assert len(str(refused.value)) < 500
