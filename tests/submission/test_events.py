"""An event's parameters and key: every delivery of one event has the same key, two events never do."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intermodal.runtime.errors import ConfigurationError
from intermodal.submission.events import Event, allowed_parameters, parse_event


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
    assert parse_event(json.dumps(CLOUD_EVENT)).key("a") == parse_event(json.dumps(wrapped)).key("a") == parse_event(json.dumps(again)).key("a")


def test_a_notification_published_twice_for_one_object_generation_is_one_event():
    first = parse_event(json.dumps(NOTIFICATION))
    second = parse_event(json.dumps(NOTIFICATION | {"messageId": "12"}))
    newer = parse_event(json.dumps(NOTIFICATION | {"attributes": NOTIFICATION["attributes"] | {"objectGeneration": "100"}}))
    assert first.subject == "raw/a.csv"
    assert first.key("a") == second.key("a") != newer.key("a")


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
        ("[" * 100_000, "nested too deeply"),
        (json.dumps({"messageId": "1", "data": encoded("[" * 100_000)}), "nested too deeply"),
        (json.dumps(NOTIFICATION | {"attributes": ["objectId"]}), "`attributes` must be an object of texts, not list"),
        (json.dumps(NOTIFICATION | {"attributes": "objectId"}), "`attributes` must be an object of texts, not str"),
        (json.dumps(NOTIFICATION | {"attributes": {"objectId": ["raw/a.csv"]}}), "'objectId' that is list"),
        (json.dumps(NOTIFICATION | {"messageId": [1]}), "'messageId' that is list"),
        (json.dumps(CLOUD_EVENT | {"subject": {}}), "'subject' that is dict"),
        (json.dumps(CLOUD_EVENT | {"id": "\ud800"}), "lone surrogate"),
        (json.dumps(CLOUD_EVENT | {"data": {"parameters": {"seed": float("inf")}}}), "Infinity is not a JSON number"),
        (json.dumps({"messageId": "1", "data": encoded('{"parameters": {"seed": NaN}}')}), "NaN is not a JSON number"),
        (json.dumps({"messageId": "1", "data": encoded('{"parameters": {"seed": 3},}')}), "not JSON"),
        (json.dumps(CLOUD_EVENT).replace('"seed": 3', '"seed": 1e999'), "beyond 1.8e308"),
    ],
)
def test_what_is_no_event_is_refused_in_words(text, word):
    with pytest.raises(ConfigurationError, match=word):
        parse_event(text)


@given(st.text(min_size=1), st.text(min_size=1), st.text(min_size=1), st.text(min_size=1))
def test_keys_are_equal_only_for_equal_source_and_id(source, identifier, other_source, other):
    def key(source, identifier):
        return parse_event(json.dumps({"specversion": "1.0", "id": identifier, "source": source, "type": "t"})).key("a")

    if "\0" not in source + identifier + other_source + other:
        assert (key(source, identifier) == key(other_source, other)) == ((source, identifier) == (other_source, other))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary().map(lambda value: base64.b64encode(value).decode()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def near_events(draw):
    """An event of a known kind, some members of which, at any depth, are some other JSON."""
    kinds = [CLOUD_EVENT, NOTIFICATION, {"message": NOTIFICATION, "subscription": "s"}, {"message": {"messageId": "1", "data": CLOUD_EVENT}}]

    def mangled(value):
        if draw(st.integers(0, 4)) == 0:
            return draw(json_values)
        return {key: mangled(each) for key, each in value.items()} if isinstance(value, dict) else value

    return mangled(draw(st.sampled_from(kinds)))


@pytest.mark.fault("Wrong input", "any JSON, and events some members of which are any JSON", "an event, or one sentence that says what is wrong")
@given(json_values | near_events())
def test_any_json_is_an_event_or_is_refused_in_one_sentence(value):
    try:
        event = parse_event(json.dumps(value))
    except ConfigurationError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(event, Event)
        assert event.key("a").startswith("event-")
        assert all(isinstance(each, str) for each in (event.id, event.source, event.type, event.subject))
        json.dumps(event.parameters, allow_nan=False).encode()


def event_with(**parameters):
    return parse_event(json.dumps(CLOUD_EVENT | {"data": {"parameters": parameters}}))


@pytest.mark.fault(
    "Nobody in",
    "an event's parameters name other code, data, gate rules or a served image",
    "refused by name; nothing is allowed unless the configuration lists it",
)
@pytest.mark.parametrize(
    "name", ["repository", "sources", "gate_minimum", "serving_kubeflow_image", "model_function", "model_registry", "features_store"]
)
def test_an_event_decides_nothing_that_is_not_allowed(name):
    with pytest.raises(ConfigurationError, match=f"the event sets the parameter '{name}', which events may not set; .*--configuration"):
        allowed_parameters(event_with(**{name: "gs://evil"}), [], "")
    with pytest.raises(ConfigurationError, match=f"'{name}', which events may not.*; list it under events.parameters of pipelines/flights.yaml"):
        allowed_parameters(event_with(seed=1, **{name: "gs://evil"}), ["seed"], "pipelines/flights.yaml")


def test_an_event_decides_what_is_allowed():
    assert allowed_parameters(event_with(seed=1), ["seed", "title"], "flights.yaml") == {"seed": 1}
    assert allowed_parameters(event_with(), [], "flights.yaml") == {}
    with pytest.raises(ConfigurationError, match=r"parameter 'sede', which events may not set \(did you mean 'seed'\?\)"):
        allowed_parameters(event_with(sede=1), ["seed"], "flights.yaml")
