"""What `list_served` promises."""

import pytest

from intermodal.components.list_served import logic
from intermodal.components.list_served.logic import list_served
from intermodal.runtime.errors import ConfigurationError, StoreError
from tests.servers.faults import Fault, FaultyServer, Refusal


class Service(FaultyServer):
    def respond(self, request, state):
        if request.path not in state:
            raise Refusal(404, "no such service")
        return 200, state[request.path]


@pytest.fixture
def service(monkeypatch):
    monkeypatch.setattr(logic, "_PAUSE", 0.01)
    models = [{"name": "a", "version": "1", "id": 7}, {"name": "a", "version": "2", "id": 8}]
    with Service(state={"/two": {"models": models}, "/none": {"title": "x"}, "/list": []}).running() as server:
        yield server


def ask(service, path="/two", form="{name}@{version}"):
    return list_served(url=service.url + path, credentials="none", member="models", form=form)


def test_models_are_named_in_the_form_asked_for(service):
    assert ask(service) == ["a@1", "a@2"]
    assert ask(service, form="{id}") == ["7", "8"]


def test_a_service_without_models_lists_none(service):
    assert ask(service, "/none") == []


def test_what_may_pass_is_asked_again(service):
    service.faults = [Fault("status", status=503), Fault("cut"), Fault("status", status=429)]
    assert ask(service) == ["a@1", "a@2"]


def test_what_does_not_pass_is_said(service):
    service.faults = [Fault("status", status=503)] * 4
    with pytest.raises(StoreError, match="HTTP 503"):
        ask(service)
    assert len(service.requests) == 4
    with pytest.raises(StoreError, match=r"HTTP 404: .*no such service"):
        ask(service, "/absent")
    assert len(service.requests) == 5
    with pytest.raises(StoreError, match="answers list, where an object"):
        ask(service, "/list")


def test_a_form_of_other_keys_is_refused_and_names_those_there_are(service):
    with pytest.raises(ConfigurationError, match="has no key 'model'; there are id, name, version"):
        ask(service, form="{model}")
