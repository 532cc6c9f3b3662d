"""What a task says it has written is read, or refused in one sentence."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intermodal.runner.inputs import Values
from intermodal.runner.outputs import read_outputs
from intermodal.runtime.errors import DataError

COMPONENT = {
    "outputDefinitions": {
        "parameters": {"count": {"parameterType": "NUMBER_INTEGER"}, "flag": {"parameterType": "BOOLEAN"}, "text": {"parameterType": "STRING"}},
        "artifacts": {"table": {"artifactType": {"schemaTitle": "system.Dataset"}}},
    }
}


def said(folder, content):
    (folder / "executor_output.json").write_text(content)
    return read_outputs(COMPONENT, folder, ["run"])


def written(folder):
    for name, text in {"count": "3", "flag": "True", "text": "3", "table": "a"}.items():
        (folder / name).write_text(text)
    return folder


def test_outputs_written_to_files_alone_are_of_their_types_and_artifacts_lie_there(tmp_path):
    outputs = read_outputs(COMPONENT, written(tmp_path), ["run"])
    assert outputs.parameters == {"count": 3, "flag": True, "text": "3"}
    assert outputs.artifacts["table"] == {"name": "table", "type": {"schemaTitle": "system.Dataset"}, "uri": str(tmp_path / "table"), "metadata": {}}


def test_what_the_task_says_counts_more_than_the_files(tmp_path):
    content = {"parameterValues": {"count": 4.0}, "artifacts": {"table": {"artifacts": [{"name": "t", "uri": "gs://b/t", "metadata": {"rows": 2}}]}}}
    outputs = said(written(tmp_path), json.dumps(content))
    assert outputs.parameters["count"] == 4
    assert isinstance(outputs.parameters["count"], int)
    assert outputs.artifacts["table"] == {"name": "t", "type": {"schemaTitle": "system.Dataset"}, "uri": "gs://b/t", "metadata": {"rows": 2}}


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "3",
        '"text"',
        '{"parameterValues": [1]}',
        '{"artifacts": {"table": [1]}}',
        '{"artifacts": {"table": {"artifacts": [1]}}}',
        '{"artifacts": {"table": {"artifacts": [{"uri": 3}]}}}',
        '{"artifacts": {"table": {"artifacts": [{"metadata": "a"}]}}}',
    ],
)
def test_what_is_no_object_of_outputs_is_refused_in_one_sentence(tmp_path, content):
    with pytest.raises(DataError, match=r"executor_output\.json.* is not an object with parameterValues and artifacts$"):
        said(written(tmp_path), content)


def test_what_is_no_json_is_refused(tmp_path):
    with pytest.raises(DataError, match="is not JSON"):
        said(written(tmp_path), "{")
    (tmp_path / "executor_output.json").unlink()
    (tmp_path / "count").write_text("three")
    with pytest.raises(DataError, match="its output count is not NUMBER_INTEGER in JSON"):
        read_outputs(COMPONENT, tmp_path, ["run"])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["parameterValues", "table", "uri", ""]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["parameterValues", "artifacts", "table", "uri", "metadata", "count"]), inner, max_size=4)
    ),
)


@given(content=json_values)
def test_whatever_json_a_task_says_is_read_or_refused(tmp_path_factory, content):
    try:
        outputs = said(written(tmp_path_factory.mktemp("task")), json.dumps(content))
    except DataError:
        return
    assert isinstance(outputs, Values)
    assert isinstance(outputs.artifacts["table"]["uri"], str)
    assert isinstance(outputs.artifacts["table"]["metadata"], dict)
