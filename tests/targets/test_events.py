"""An event's parameters and key: every delivery of one event has the same key, two events never do."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intermodal.errors import ConfigurationError
from intermodal.targets.events import parse_event


def encoded(value) -> str:
    return base64.b64encode(value.encode() if isinstance(value, str) else json.dumps(value).encode()).decode()


CLOUD_EVENT = {
    "specversion": "1.0",
    "id": "7",
    "source": "//monitor",
    "type": "drift",
    "subject": "flight-delay",
    "data": {"parameters": {"seed": 3}},
}
NOTIFICATION = {
    "messageId": "11",
    "data": encoded({"kind": "storage#object", "name": "raw/a.csv"}),
    "attributes": {"eventType": "OBJECT_FINALIZE", "bucketId": "raw", "objectId": "raw/a.csv", "objectGeneration": "99"},
}


def test_a_cloud_event_gives_its_parameters_and_subject():
    event = parse_event(json.dumps(CLOUD_EVENT))
    assert event.parameters == {"seed": 3}
    assert (event.type, event.subject) == ("drift", "flight-delay")


def test_the_same_event_has_the_same_key_bare_or_wrapped_by_pubsub():
    wrapped = {"message": {"messageId": "1", "data": encoded(CLOUD_EVENT)}, "subscription": "projects/p/subscriptions/s"}
    again = {"message": {"messageId": "2", "data": encoded(CLOUD_EVENT)}, "subscription": "projects/p/subscriptions/s"}
    assert parse_event(json.dumps(CLOUD_EVENT)).key == parse_event(json.dumps(wrapped)).key == parse_event(json.dumps(again)).key


def test_a_notification_published_twice_for_one_object_generation_is_one_event():
    first = parse_event(json.dumps(NOTIFICATION))
    second = parse_event(json.dumps(NOTIFICATION | {"messageId": "12"}))
    newer = parse_event(json.dumps(NOTIFICATION | {"attributes": NOTIFICATION["attributes"] | {"objectGeneration": "100"}}))
    assert first.subject == "raw/a.csv"
    assert first.key == second.key != newer.key


@pytest.mark.parametrize("data", [CLOUD_EVENT, {"parameters": {"seed": 3}}], ids=["CloudEvent", "object"])
def test_data_that_came_decoded_is_the_same_event_as_data_that_did_not(data):
    decoded, plain = ({"message": {"messageId": "1", "data": each}} for each in (data, encoded(data)))
    assert parse_event(json.dumps(decoded)) == parse_event(json.dumps(plain))
    assert parse_event(json.dumps(decoded)).parameters == {"seed": 3}


def test_a_message_of_plain_text_is_an_event_without_parameters():
    assert parse_event(json.dumps({"messageId": "5", "data": encoded("retrain, please")})).parameters == {}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "not JSON"),
        ("[]", "object"),
        ("{}", "neither a CloudEvent"),
        (json.dumps({"specversion": "1.0", "source": "a", "type": "b"}), "'id'"),
        (json.dumps({"message": {"data": "e30="}}), "messageId"),
        (json.dumps({"messageId": "1", "data": "%%%"}), "base64"),
        (json.dumps(CLOUD_EVENT | {"data": {"parameters": [1]}}), "parameters"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_what_is_no_event_is_refused_in_words(text, word):
    with pytest.raises(ConfigurationError, match=word):
        parse_event(text)


@given(st.text(min_size=1), st.text(min_size=1), st.text(min_size=1), st.text(min_size=1))
def test_keys_are_equal_only_for_equal_source_and_id(source, identifier, other_source, other):
    def key(source, identifier):
        return parse_event(json.dumps({"specversion": "1.0", "id": identifier, "source": source, "type": "t"})).key

    if "\0" not in source + identifier + other_source + other:
        assert (key(source, identifier) == key(other_source, other)) == ((source, identifier) == (other_source, other))
