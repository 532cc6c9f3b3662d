"""The predictor with models that others made: SavedModels without signature.json, and Keras files."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import numpy as np
import pytest
import tensorflow as tf

from intermodal.inference.servable import load_servable, zero_row
from intermodal.runtime.errors import DataError
from tests.ports import free_port
from tests.serving.conftest import SIGNATURE, save_model

IMAGE = np.arange(6, dtype=np.float32).reshape(2, 3)


def keras_model():
    hour, size = tf.keras.Input((1,), name="hour"), tf.keras.Input((1,), name="size")
    joined = tf.keras.layers.Concatenate()([hour, size])
    return tf.keras.Model([hour, size], tf.keras.layers.Dense(1, "sigmoid", kernel_initializer="ones")(joined))


def save_image_model(folder):
    """Write a SavedModel with one input of rank three, and two outputs."""
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec((None, 2, 3), tf.float32, name="image")])
    def serve(image):
        total = tf.reduce_sum(image, axis=[1, 2])
        return {"total": total, "word": tf.where(total > 5, "large", "small")}

    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})


def save_typed_model(folder):
    """Write a SavedModel whose inputs have every type."""
    module = tf.Module()
    kinds = {"count": tf.int32, "flag": tf.bool, "key": tf.int64, "word": tf.string}

    @tf.function(input_signature=[{name: tf.TensorSpec((None,), kind, name=name) for name, kind in kinds.items()}])
    def serve(columns):
        length = tf.strings.length(columns["word"])
        return {"key": columns["key"] + tf.cast(columns["count"] + length + tf.cast(columns["flag"], tf.int32), tf.int64)}

    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})


@contextmanager
def served(model, log):
    port = free_port()
    with log.open("w") as file:
        command = [sys.executable, "-m", "intermodal.serving.predictor", "--model_name", "m", "--model_dir", str(model), "--host", "127.0.0.1"]
        process = subprocess.Popen([*command, "--http_port", str(port)], stdout=file, stderr=file)

    def ask(path, body=None):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", body and json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    try:
        for _ in range(900):
            assert process.poll() is None, log.read_text()
            try:
                ask("v2/health/ready")
                break
            except OSError:
                time.sleep(0.1)
        yield ask
    finally:
        process.terminate()
        process.wait(20)


def test_a_saved_model_without_a_description_is_served_over_v1_and_v2(tmp_path):
    save_image_model(tmp_path / "model")
    rows = [IMAGE.tolist(), (-IMAGE).tolist()]
    with served(tmp_path / "model", tmp_path / "log") as ask:
        answers = [{"total": 15.0, "word": "large"}, {"total": -15.0, "word": "small"}]
        assert ask("v1/models/m:predict", {"instances": rows}) == (200, {"predictions": answers})
        assert ask("v1/models/m:predict", {"instances": [{"image": each} for each in rows]}) == (200, {"predictions": answers})
        tensor = {"name": "image", "shape": [2, 2, 3], "datatype": "FP32", "data": np.array(rows).ravel().tolist()}
        status, answer = ask("v2/models/m/infer", {"inputs": [tensor]})
        assert status == 200
        assert [(each["name"], each["datatype"], each["data"]) for each in answer["outputs"]] == [
            ("total", "FP32", [15.0, -15.0]),
            ("word", "BYTES", ["large", "small"]),
        ]
        assert ask("v2/models/m")[1]["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 2, 3]}]
        status, answer = ask("v1/models/m:predict", {"instances": [[[1, 2, 3]]]})
        assert (status, answer["error"]) == (400, "instances[0].image is a list of 1; it must be a number at each place of a list of shape [2, 3]")
        assert ask("v2/models/m/infer", {"inputs": [tensor | {"shape": [2, 3]}]})[0] == 400


@pytest.mark.parametrize("folder", ["", "1"])
def test_a_described_model_gives_its_example_also_from_a_version_folder(tmp_path, folder):
    save_model(tmp_path / "model" / folder, 0.0)
    loaded = load_servable(tmp_path / "model")
    assert loaded.example == SIGNATURE["example"]
    assert list(loaded.outputs) == ["probability"]


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "model"])
def test_a_keras_file_of_any_name_is_loaded_and_gives_what_keras_gives(tmp_path, name):
    model = keras_model()
    file = tmp_path / "artifact" / (name if "." in name else "model.keras")
    file.parent.mkdir()
    model.save(file)
    if "." not in name:
        file = file.rename(file.with_suffix(""))
    expected = model.predict([np.array([[1.0], [2.0]]), np.array([[0.5], [0.25]])], verbose=0).ravel()
    for path in (file, *([file.parent] if "." in name else [])):
        loaded = load_servable(path)
        assert [(each["name"], each["type"], each["required"]) for each in loaded.inputs] == [("hour", "number", True), ("size", "number", True)]
        (found,) = loaded.predict({"hour": np.array([1.0, 2.0]), "size": np.array([0.5, 0.25])}).values()
        assert found == pytest.approx(expected, abs=1e-6)
        assert found.shape == (2,)
        assert zero_row(loaded.inputs) == {"hour": 0, "size": 0}


def test_a_keras_file_is_served(tmp_path):
    keras_model().save(tmp_path / "model.keras")
    with served(tmp_path / "model.keras", tmp_path / "log") as ask:
        status, answer = ask("v1/models/m:predict", {"instances": [{"hour": 0, "size": 0}]})
        assert (status, answer) == (200, {"predictions": [0.5]})


def test_inputs_keep_their_types_to_the_last_digit(tmp_path):
    save_typed_model(tmp_path / "model")
    loaded = load_servable(tmp_path / "model")
    assert {each["name"]: (each["type"], each.get("dtype")) for each in loaded.inputs} == {
        "count": ("integer", "int32"),
        "flag": ("boolean", None),
        "key": ("integer", "int64"),
        "word": ("string", None),
    }
    with served(tmp_path / "model", tmp_path / "log") as ask:
        row = {"count": 2, "flag": True, "key": 2**60 + 1, "word": "ab"}
        assert ask("v1/models/m:predict", {"instances": [row]}) == (200, {"predictions": [2**60 + 6]})
        for change, words in (
            ({"count": 2**31}, "instances[0].count is 2147483648; it must be an integer that fits int32"),
            ({"flag": "yes"}, 'instances[0].flag is "yes"; it must be true or false'),
            ({"key": None}, "instances[0].key is missing or null; it must be an integer"),
        ):
            status, answer = ask("v1/models/m:predict", {"instances": [row | change]})
            assert (status, answer["error"]) == (400, words)


def test_a_description_that_does_not_fit_its_model_is_refused(tmp_path):
    save_model(tmp_path / "model", 0.0)
    file = tmp_path / "model" / "signature.json"
    described = json.loads(file.read_text())
    for change, words in (
        ({"inputs": [*described["inputs"], {"name": "absent", "type": "number", "required": True}]}, "names the input 'absent'; the model has"),
        ({"output": "score"}, "names the output 'score'; the model has probability"),
    ):
        file.write_text(json.dumps(described | change))
        with pytest.raises(DataError, match=words):
            load_servable(tmp_path / "model")


@pytest.mark.fault("Serving", "no model: an empty folder, a text file, a broken SavedModel or Keras file", "one sentence says what is missing")
@pytest.mark.parametrize("made", ["empty", "text", "broken", "zip", "nothing"])
def test_what_is_no_model_is_refused_in_one_sentence(tmp_path, made):
    path = tmp_path / "model"
    if made in ("empty", "broken"):
        path.mkdir()
    if made == "broken":
        (path / "saved_model.pb").write_bytes(b"no graph")
    if made == "text":
        path.write_text("weights")
    if made == "zip":
        path.write_bytes(b"PK\x03\x04" + bytes(18))
    with pytest.raises(
        DataError, match=r"no saved_model\.pb|no such file|neither a SavedModel|not a SavedModel that can be read|Keras cannot load it"
    ) as refused:
        load_servable(path)
    assert "\n" not in str(refused.value)
