"""The smoke test that every way of serving shares."""

import http.server
import json
import math
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intermodal.runtime.errors import DataError, DeploymentError
from intermodal.serving.json_http import ask
from intermodal.serving.smoke_test import SmokeTest

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


def smoke_test(folder, rows, probabilities=None, tolerance=1e-4) -> SmokeTest:
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
    assert (exchange.request, exchange.response) == ({"instances": whole[-1:]}, {"predictions": [answer(whole[-1])]})
    assert [path for path, _ in asked] == [*["v1/models/toy:predict"] * 2, *["v2/models/toy/infer"] * 2]
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
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}", "does not answer: .*IncompleteRead"),
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
            ask(f"http://127.0.0.1:{server.server_port}/v1/models/m:predict", {})
        server.shutdown()
    assert len(str(refused.value)) < 500


def test_without_an_evaluation_the_example_needs_a_well_formed_answer_and_nothing_more(tmp_path):
    example = {"hour": 3, "carrier": "AA", "distance": 1.5}
    (tmp_path / "signature.json").write_text(json.dumps({"inputs": INPUTS, "example": example}))
    exchange = SmokeTest.read(str(tmp_path), None, 1e-4).run("toy", lambda path, body: server(path, body, lambda answers: [0.9 for _ in answers]))
    assert (exchange.request, exchange.response) == ({"instances": [example]}, {"predictions": [0.9]})
    assert exchange.tested == "an example row got a well-formed answer over V1 and V2; there is no evaluation to compare it with"
    with pytest.raises(DeploymentError, match="answers None over V1 to 1 rows"):
        SmokeTest.read(str(tmp_path), None, 1e-4).run("toy", lambda path, body: {"error": "no"})


@pytest.mark.parametrize(
    ("inputs", "row"),
    [([], None), ([{"name": "x", "datatype": "BYTES", "shape": [-1]}], None), ([{"name": "x", "datatype": "FP32", "shape": [-1, 2]}], {"x": [0, 0]})],
)
def test_without_an_example_numbers_get_a_row_of_zeros_and_other_inputs_no_row(tmp_path, inputs, row):
    def metadata(path, body):
        if body is None:
            return {"inputs": inputs}
        return {"predictions": [1]} if path.startswith("v1") else {"outputs": [{"data": [1], "shape": [1]}]}

    exchange = SmokeTest.read(str(tmp_path), None, 1e-4).run("toy", metadata)
    assert exchange.request == (row and {"instances": [row]})
    assert exchange.tested.startswith("an example row" if row else "the server is ready; no row was sent")


def test_a_server_that_speaks_v2_alone_is_asked_in_v2_with_the_types_that_it_says(tmp_path):
    (tmp_path / "smoke.json").write_text(
        json.dumps({"instances": [{"x": [1.0, 2.0]}, {"x": [3.0, 4.0]}], "probabilities": [[0.25, 0.75], [0.5, 0.5]]})
    )
    sent = []

    def triton(path, body):
        if path == "v2/models/toy":
            return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]}
        sent.append(body["inputs"][0])
        data = [0.25, 0.75, 0.5, 0.5] if len(body["inputs"][0]["data"]) == 2 else [0.5, 0.5]
        return {"outputs": [{"name": "y", "shape": [len(data) // 2, 2], "data": data}]}

    exchange = SmokeTest.read(None, str(tmp_path), 1e-4).run("toy", triton, ("v2",))
    assert sent[0] == {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [[1.0, 2.0], [3.0, 4.0]]}
    assert exchange.request == {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [[3.0, 4.0]]}]}
    assert exchange.response == {"outputs": [{"name": "y", "shape": [1, 2], "data": [0.5, 0.5]}]}


@pytest.mark.parametrize("content", ["[]", '{"instances": []}', '{"instances": [{}], "probabilities": []}'])
def test_a_smoke_file_of_another_form_is_refused(tmp_path, content):
    (tmp_path / "smoke.json").write_text(content)
    with pytest.raises(DataError, match=r"smoke\.json: (expected an object|1 instances and 0 probabilities)"):
        SmokeTest.read(None, str(tmp_path), 1e-4)
