import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from intermodal.components.fetch_champion.logic import fetch_champion
from intermodal.components.find_champion.logic import find_champion
from intermodal.components.promote_model.logic import promote_model
from intermodal.components.register_model.logic import register_model
from intermodal.registry.client import open_registry
from intermodal.runtime.errors import ConfigurationError, DataError, StoreError


@pytest.fixture
def registered(registrable, local_registry, model_name):
    """Register a model of the given content, and return the folder of its registration."""

    def make(content="weights", *, judged=True, registry=local_registry, **verdict):
        paths = registrable(content, **verdict)
        register_model(**paths | ({} if judged else {"decision_path": None}), registry=registry, name=model_name)
        return Path(paths["registration_path"])

    return make


@pytest.fixture
def promote(local_registry, tmp_path):
    """Promote a registration, and return `promotion.json` without the parts that are the same each time."""

    def run(registration, deployment=None, registry=local_registry):
        made = {"deployment_path": deployment and str(deployment), "registry": registry, "promotion_path": str(tmp_path / "promotion")}
        metadata = promote_model(registration_path=str(registration), **made)
        found = json.loads((tmp_path / "promotion" / "promotion.json").read_text())
        assert metadata.items() <= found.items()
        assert found["registry"] == registry
        return found["version"], found["champion"], found["previous_champion"], found["outcome"]

    return run


@pytest.fixture
def champion(local_registry, model_name):
    def version():
        found = open_registry(local_registry).get_registered_model(model_name).aliases.get("champion")
        return None if found is None else str(found)

    return version


def deployed(folder, **record):
    (folder / "deployment").mkdir()
    (folder / "deployment" / "deployment.json").write_text(json.dumps(record))
    return folder / "deployment"


def test_a_model_that_passed_becomes_the_champion_and_stays_it(registered, promote, champion):
    first = registered()
    assert promote(first) == ("1", True, None, "version 1 is the champion now")
    assert promote(registered("better", against="1")) == ("2", True, "1", "version 2 is the champion now, in place of version 1")
    assert champion() == "2"


@pytest.mark.parametrize("verdict", ["blocked", "too little data"])
def test_a_model_that_did_not_pass_changes_nothing_and_the_task_says_so(registered, promote, champion, model_name, capsys, verdict):
    outcome = f"the gate's verdict on version 1 is {verdict}: there is still no champion"
    assert promote(registered(verdict=verdict)) == ("1", False, None, outcome)
    assert capsys.readouterr().out == f"{model_name}: {outcome}\n"
    assert champion() is None
    promote(registered("first"))
    outcome = f"the gate's verdict on version 3 is {verdict}: version 2 stays the champion"
    assert promote(registered("worse", verdict=verdict, against="2")) == ("3", False, "2", outcome)
    assert champion() == "2"


def test_without_a_decision_the_alias_moves_whatever_the_champion_is(registered, promote, champion):
    assert promote(registered("first", judged=False)) == ("1", True, None, "version 1 is the champion now")
    second = registered("second", judged=False)
    assert promote(second)[:3] == ("2", True, "1")
    assert promote(second)[:2] == ("2", True)
    assert champion() == "2"


@pytest.mark.fault("Stores", "promote_model is stopped after it moved the alias, and tried again", "it names the champion before, not itself")
def test_a_second_attempt_names_the_champion_before(registered, promote, local_registry, model_name):
    promote(registered("first"))
    second = registered("second", against="1")
    open_registry(local_registry).set_registered_model_alias(model_name, "champion", "2")
    for _ in range(2):
        assert promote(second) == ("2", True, "1", "version 2 is the champion already")


def test_a_champion_promoted_since_the_gate_compared_is_not_replaced(registered, promote, champion, tmp_path):
    second = registered("second", against=None)
    promote(registered("first"))
    with pytest.raises(StoreError, match=r"champion of .* is now version 2, and version 1 was compared with none; run the pipeline again$"):
        promote(second)
    place = deployed(tmp_path, version="1", url="http://127.0.0.1:8080")
    with pytest.raises(StoreError, match=r"run the pipeline again; version 1 serves at http://127\.0\.0\.1:8080 until then$"):
        promote(second, place)
    assert champion() == "2"
    assert not (tmp_path / "promotion" / "promotion.json").read_text().count('"version": "1"')


@pytest.mark.parametrize("record", [None, {}, {"url": "http://127.0.0.1:8080"}, {"version": "1"}], ids=str)
def test_a_deployment_of_any_kind_lets_the_version_become_the_champion(registered, promote, tmp_path, record):
    place = tmp_path if record is None else deployed(tmp_path, **record)
    assert promote(registered(), place)[:2] == ("1", True)


def test_a_deployment_of_another_version_is_refused(registered, promote, champion, tmp_path):
    words = "deployment.json: it is version 7 that serves, and version 1 that is to be the champion; give the deployment of that"
    with pytest.raises(DataError, match=words):
        promote(registered(), deployed(tmp_path, version="7"))
    assert champion() is None


@pytest.fixture
def refusing(local_registry, model_name):
    """Let the registry's database refuse to move the alias of the test's model, as a database does that is full or read-only."""
    file = local_registry.removeprefix("sqlite:///")

    def set_refusing(refuses):
        with contextlib.closing(sqlite3.connect(file)) as database, database:
            for change in ("insert", "update"):
                trigger = f"refuse_{change}_{model_name.replace('-', '_')}"
                database.execute(
                    f"create trigger {trigger} before {change} on registered_model_aliases when new.name = '{model_name}'"
                    " begin select raise(abort, 'the alias stays'); end"
                    if refuses
                    else f"drop trigger {trigger}"
                )

    return set_refusing


@pytest.mark.fault(
    "Stores",
    "the registry refuses to move the alias after the model was brought to serve",
    "the message says what serves and what is the champion; running again completes it",
)
def test_where_the_alias_cannot_be_moved_the_message_says_what_serves_and_the_next_attempt_moves_it(
    registered, promote, champion, local_registry, refusing, tmp_path
):
    promote(registered("first"))
    second, place = registered("second", against="1"), deployed(tmp_path, version="2", url="http://127.0.0.1:8080")
    refusing(True)
    words = r"; version 2 serves at http://127\.0\.0\.1:8080, and the champion is version 1, as when the gate compared: running again completes"
    with pytest.raises(StoreError, match=rf"model registry {local_registry}: .*the alias stays.*{words}"):
        promote(second, place)
    with pytest.raises(StoreError, match=r"the alias stays.*; version 2 is registered, and the champion is version 1"):
        promote(second)
    assert champion() == "1"
    refusing(False)
    assert promote(second, place)[:3] == ("2", True, "1")
    assert champion() == "2"


def test_killed_before_the_alias_moves_there_is_no_promotion_and_the_next_attempt_completes_it(
    registered, promote, champion, local_registry, tmp_path
):
    """A real kill: a child that sends itself SIGKILL when it comes to the step."""
    first = registered()
    code = (
        "import json, os, sys\n"
        "from intermodal.components.promote_model.logic import promote_model\n"
        "from mlflow import MlflowClient\n"
        "MlflowClient.set_registered_model_alias = lambda *a, **k: os.kill(os.getpid(), 9)\n"
        "promote_model(**json.loads(sys.argv[1]))\n"
    )
    places = {"registration_path": str(first), "deployment_path": None, "promotion_path": str(tmp_path / "promotion")}
    arguments = json.dumps(places | {"registry": local_registry})
    done = subprocess.run([sys.executable, "-c", code, arguments], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert champion() is None
    assert not (tmp_path / "promotion").exists()
    assert promote(first)[:2] == ("1", True)


def test_an_alias_that_was_moved_back_moves_again_only_where_the_gate_compared_with_that_version(
    registered, promote, champion, local_registry, model_name
):
    first, second = registered("first"), registered("second", against="1")
    promote(first)
    promote(second)
    open_registry(local_registry).set_registered_model_alias(model_name, "champion", "1")
    assert promote(second)[:3] == ("2", True, "1")
    with pytest.raises(StoreError, match="is now version 2, and version 1 was compared with none"):
        promote(first)
    assert champion() == "2"


def test_a_registry_without_the_version_is_named(registered, promote, tmp_path):
    first = registered()
    with pytest.raises(StoreError, match=r"none/mlflow\.db: no such file; give the registry that version 1 of .* was registered in"):
        promote(first, registry=f"sqlite:///{tmp_path}/none/mlflow.db")
    assert not (tmp_path / "none" / "mlflow.db").exists()
    (first / "registration.json").write_text(json.dumps(json.loads((first / "registration.json").read_text()) | {"version": "9"}))
    with pytest.raises(StoreError, match="9"):
        promote(first)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("registration.json", "[]", r"registration\.json: without 'name' and 'version'; give the output `registration` of register_model"),
        ("registration.json", "{", r"registration\.json: not JSON"),
        ("decision.json", "{}", r"decision\.json: without 'verdict'; run gate_model again"),
    ],
)
def test_an_artifact_that_is_not_what_it_should_be_is_named(registered, promote, champion, file, content, words):
    folder = registered()
    (folder / file).write_text(content)
    with pytest.raises(DataError, match=words):
        promote(folder)
    assert champion() is None


def test_a_uri_of_another_kind_or_with_a_password_is_refused(registered, promote):
    first = registered()
    with pytest.raises(ConfigurationError, match=r"registry: 'postgresql://me@host/db'.*sqlite:////"):
        promote(first, registry="postgresql://me@host/db")
    with pytest.raises(ConfigurationError, match="registry carries a password") as caught:
        promote(first, registry="https://me:hunter22@127.0.0.1:1")
    assert "hunter22" not in str(caught.value)


@pytest.fixture
def reference(local_registry, model_name):
    """The versions that find_champion finds as champion and as reference."""

    def versions():
        found = find_champion(registry=local_registry, name=model_name)
        return found.version, found.reference

    return versions


def superseding(registration, better):
    """Have the gate say whether the model is better than the reference."""
    file = registration / "decision.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"supersedes_reference": better}))
    return registration


def test_the_reference_is_the_first_champion_until_a_better_one_comes(registered, promote, reference):
    assert reference() == ("none", "none")
    promote(superseding(registered("first"), better=False))
    assert reference() == ("1", "1")
    promote(superseding(registered("no worse", against="1"), better=False))
    promote(superseding(registered("no worse either", against="2"), better=False))
    assert reference() == ("3", "1")
    promote(superseding(registered("better", against="3"), better=True))
    assert reference() == ("4", "4")
    promote(superseding(registered("blocked", verdict="blocked", against="4"), better=True))
    assert reference() == ("4", "4")


def test_a_model_that_nobody_judged_is_the_reference_of_those_that_follow(registered, promote, reference):
    promote(registered("first"))
    promote(registered("by hand", judged=False))
    assert reference() == ("2", "2")


def of(found):
    """What fetch_champion takes of what find_champion finds."""
    return {name: value for name, value in found._asdict().items() if name != "judged"}


def test_the_reference_is_fetched_where_it_is_not_the_champion(registered, promote, reference, local_registry, model_name, tmp_path):
    contents = [registered("first"), registered("second", against="1")]
    for each in contents:
        promote(superseding(each, better=False))
    found = find_champion(registry=local_registry, name=model_name)
    assert found.reference == "1"
    fetch_champion(registry=local_registry, name=model_name, **of(found), champion_path=str(tmp_path / "champion"))
    pinned, champion = ((tmp_path / "champion" / name / "saved_model.pb").read_bytes() for name in ("reference", "model"))
    assert (pinned.startswith(b"first"), champion.startswith(b"second")) == (True, True)
    assert json.loads((tmp_path / "champion" / "champion.json").read_text())["reference_version"] == "1"
    fetch_champion(registry=local_registry, name=model_name, **of(found) | {"reference": "2"}, champion_path=str(tmp_path / "champion"))
    assert not (tmp_path / "champion" / "reference").exists()
    with pytest.raises(ConfigurationError, match="reference: 'first'"):
        fetch_champion(registry=local_registry, name=model_name, **of(found) | {"reference": "first"}, champion_path=str(tmp_path / "no"))
