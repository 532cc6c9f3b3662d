import json
import socket
import struct
import threading
import time
import urllib.request

import pytest

GOOD = {"carrier": "AA", "distance": 1.5, "hour": 3}


def test_v1_answers_rows_in_order(served, expected):
    rows = [GOOD, {"carrier": None, "distance": None, "hour": 1}, {"hour": 9}]
    status, answer = served.predict(*rows)
    assert status == 200
    full = [{"carrier": None, "distance": None} | row for row in rows]
    assert answer["predictions"] == pytest.approx([expected(row, 0.0) for row in full], abs=1e-6)
    assert served.predict() == (200, {"predictions": []})


def test_v1_takes_json_however_curl_calls_it(served):
    body = json.dumps({"instances": [GOOD]}).encode()
    for kind in ("application/x-www-form-urlencoded", "application/json; charset=utf-8"):
        assert served.ask("/v1/models/toy:predict", body, kind)[0] == 200


def test_v2_answers_tensors(served, expected):
    inputs = [
        {"name": "hour", "shape": [2, 1], "datatype": "INT64", "data": [[3], [1]]},
        {"name": "carrier", "shape": [2], "datatype": "BYTES", "data": ["AA", None]},
        {"name": "distance", "shape": [2], "datatype": "FP32", "data": [1.5, None]},
    ]
    status, answer = served.ask("/v2/models/toy/infer", {"id": "42", "inputs": inputs})
    assert status == 200
    output = answer["outputs"][0]
    assert (answer["id"], output["name"], output["shape"], output["datatype"]) == ("42", "probability", [2], "FP32")
    assert output["data"] == pytest.approx([expected(GOOD, 0.0), expected({"carrier": None, "distance": None, "hour": 1}, 0.0)], abs=1e-6)


def test_v2_takes_and_gives_binary_tensors(served, expected):
    hour, carrier = struct.pack("<q", 3), struct.pack("<I", 2) + b"AA"
    inputs = [
        {"name": "hour", "shape": [1], "datatype": "INT64", "parameters": {"binary_data_size": len(hour)}},
        {"name": "carrier", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(carrier)}},
    ]
    head = json.dumps({"inputs": inputs}).encode()
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        body = head + hour + carrier
        lines = [
            "POST /v2/models/toy/infer HTTP/1.1",
            "Host: localhost",
            "Content-Type: application/octet-stream",
            f"Inference-Header-Content-Length: {len(head)}",
            f"Content-Length: {len(body)}",
            "Connection: close",
        ]
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b" 200 " in answer.split(b"\r\n")[0], answer
    data = json.loads(answer.partition(b"\r\n\r\n")[2])["outputs"][0]["data"]
    assert data == pytest.approx([expected({"carrier": "AA", "distance": None, "hour": 3}, 0.0)], abs=1e-6)


def test_an_unknown_category_and_a_string_of_a_megabyte_are_answered(served, expected):
    status, answer = served.predict(GOOD | {"carrier": "never seen"}, GOOD | {"carrier": "x" * 2**20})
    assert status == 200
    assert answer["predictions"] == pytest.approx([expected(GOOD | {"carrier": ""}, 0.0)] * 2, abs=1e-6)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"instances": [GOOD | {"hours": 1}]}, "there is no column 'hours'; the model takes carrier, distance, hour"),
        ({"instances": [{"carrier": "AA"}]}, "instances[0].hour is missing or null"),
        ({"instances": [GOOD, GOOD | {"hour": "3"}]}, 'instances[1].hour is "3"; it must be an integer'),
        ({"instances": GOOD}, '"instances" is an object; it must be a list'),
        ({"instance": [GOOD]}, "the body is an object with instance"),
        ([GOOD], "the body is list"),
        (b"null", "the body is NoneType"),
        (b"", "Unrecognized request format"),
        (b'{"instances": [{"hour": NaN}]}', "Unrecognized request format"),
        (b'{"instances": [{"hour": 1e999}]}', "Unrecognized request format"),
        (b'{"instances": [{"hour": Infinity}]}', "Unrecognized request format"),
        (b'{"instances": [{"hour": 1, "carrier": "\xff"}]}', "Unrecognized request format"),
    ],
)
def test_v1_refuses_in_words_what_is_no_request_for_this_model(served, body, words):
    status, answer = served.ask("/v1/models/toy:predict", body)
    assert status == 400
    assert words in answer["error"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not a V2 request"),
        ({"inputs": [{"name": "hour", "shape": [1], "data": [1]}]}, "inputs.0.datatype: Field required"),
        ({"inputs": []}, "no input came"),
        ({"inputs": [{"name": "hour", "shape": [1], "datatype": "INT64", "data": [float("nan")]}]}, "row 0 is missing or null"),
        ({"inputs": [{"name": "hour", "shape": [1], "datatype": "INT64", "data": [float("inf")]}]}, "row 0 is Infinity"),
    ],
)
def test_v2_refuses_in_words_what_is_no_request_for_this_model(served, body, words):
    status, answer = served.ask("/v2/models/toy/infer", body)
    assert status == 400
    assert words in answer["error"]


def test_a_body_above_the_limit_is_refused_and_the_server_goes_on(served):
    status, answer = served.ask("/v1/models/toy:predict", b" " * (64 * 2**20 + 1))
    assert status == 413
    assert "larger than 67108864 bytes" in answer["error"]
    assert served.predict(GOOD)[0] == 200


def test_it_says_what_it_is_and_that_it_is_ready(served):
    assert served.ask("/v1/models") == (200, {"models": ["toy"]})
    assert served.ask("/v1/models/toy") == (200, {"name": "toy", "ready": True})
    assert served.ask("/v2/models/toy/ready") == (200, {"name": "toy", "ready": True})
    assert served.ask("/v2/health/ready") == (200, {"ready": True})
    status, metadata = served.ask("/v2/models/toy")
    assert status == 200
    assert {each["name"]: each["datatype"] for each in metadata["inputs"]} == {"carrier": "BYTES", "distance": "FP64", "hour": "INT64"}
    assert metadata["outputs"] == [{"name": "probability", "datatype": "FP32", "shape": [-1]}]
    assert served.ask("/v1/models/other:predict", {"instances": []})[0] == 404


def test_it_answers_others_while_it_works_on_a_large_request(served):
    rows, done = [GOOD] * 200_000, threading.Event()

    def large():
        assert served.predict(*rows)[0] == 200
        done.set()

    thread = threading.Thread(target=large)
    thread.start()
    asked = 0
    while not done.is_set() and asked < 200:
        assert served.predict(GOOD)[0] == 200
        asked += 1
        time.sleep(0.01)
    thread.join(60)
    assert done.is_set()
    assert asked > 3


def test_metrics_count_requests_by_status_their_seconds_and_what_was_predicted(served):
    def counted() -> dict[str, float]:
        with urllib.request.urlopen(f"{served.url}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line.startswith("intermodal_"))}

    before = counted()
    served.predict(GOOD, GOOD)
    served.predict({"hour": "3"})
    after = counted()
    grown = {name: value - before.get(name, 0.0) for name, value in after.items()}
    assert grown['intermodal_requests_total{code="200"}'] == 1
    assert grown['intermodal_requests_total{code="400"}'] == 1
    assert grown["intermodal_request_seconds_count"] == 2
    assert grown['intermodal_predictions_bucket{le="+Inf"}'] == 2
    assert grown['intermodal_predictions_bucket{le="0"}'] == 0
    assert grown['intermodal_predictions_bucket{le="1"}'] == 2
