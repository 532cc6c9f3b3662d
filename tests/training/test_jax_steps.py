"""Steps in JAX: on one device, on several, with weights split over some. JAX runs in a process of its own, for Keras here runs on TensorFlow."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from intermodal.runtime.tensorflow import keras
from intermodal.training.backend import MODEL, area_under_curve
from intermodal.training.batches import Batch
from intermodal.training.cluster import Cluster
from intermodal.training.tensorflow_steps import TensorFlowSteps

pytestmark = pytest.mark.timeout(900)
SCRIPT = """
import json, sys
import jax, keras
import numpy as np
import tensorflow as tf
from intermodal.runtime.errors import ConfigurationError
from intermodal.training.batches import Batch
from intermodal.training.cluster import Cluster
from intermodal.training.jax_steps import JaxSteps

everything = jax.devices()
network, batch = {}, {}
exec(sys.argv[1], globals())

def steps(devices=1, build=network, precision="float32", model_parallel=1):
    jax.devices = jax.local_devices = lambda: everything[:devices]
    backend = JaxSteps(Cluster(0, 1), learning_rate=0.01, precision=precision, model_parallel=model_parallel)
    backend.begin(build)
    return backend

def plain(sums):
    return [sums.loss.tolist(), sums.rows.tolist(), sums.scores.tolist(), sums.stops]

def trained(backend, several=False):
    started = {name: value.tolist() for name, value in backend.state().items()}
    sums = [backend.train([batch(seed, rows)], True)() for seed, rows in enumerate((48, 64, 5))]
    kept = backend.state()
    last = [batch(7), batch(8)] if several else [batch(7)]
    went_on = backend.train(last, False)()
    final = backend.state()
    evaluated = backend.evaluate(batch(9))()
    backend.restore(kept)
    again = backend.train(last, False)()
    same = all(np.array_equal(value, backend.state()[name]) for name, value in final.items()) and np.array_equal(again.loss, went_on.loss)
    shards = {str(value.addressable_shards[0].data.shape) for value in backend._state[0]}
    return {
        "replicas": backend.replicas, "hardware": backend.hardware, "started": started, "sums": [plain(each) for each in [*sums, went_on]],
        "evaluated": plain(evaluated), "final": {name: value.tolist() for name, value in final.items()}, "resumes": same, "shards": sorted(shards),
        "exported": [value.tolist() for value in backend.exportable(network).get_weights()], "total": backend.total(np.array([1.5, 2.0])).tolist(),
    }

def refused(**given):
    try:
        steps(**given)
    except ConfigurationError as error:
        return str(error)

def of_tensorflow(width=5):
    class Squared(keras.layers.Layer):
        def call(self, values):
            return tf.square(values)
    return keras.Sequential([keras.Input((width,)), Squared(), keras.layers.Dense(1)])

def odd():
    return keras.Sequential([keras.Input((5,)), keras.layers.Dense(3), keras.layers.Dense(1)])

def broken():
    raise ZeroDivisionError("one of the user's own")

without = lambda: network(0.0)
found = {
    "one": trained(steps(), True), "2 by 2": trained(steps(4, model_parallel=2), True), "without dropout": trained(steps(build=without)),
    "bfloat16": trained(steps(precision="mixed_bfloat16", build=without)), "float16": trained(steps(precision="mixed_float16", build=without)),
    "of tensorflow": refused(build=of_tensorflow), "devices": refused(devices=4, model_parallel=3),
    "odd": refused(devices=4, model_parallel=2, build=odd),
}
try:
    steps(build=broken)
except ZeroDivisionError as error:
    found["broken"] = str(error)
print("FOUND" + json.dumps(found))
"""
#: Both frameworks build the same network, and take the same rows.
SHARED = """
def network(dropout=0.3):
    keras.utils.set_random_seed(4)
    dense = keras.layers.Dense(8, activation="tanh", kernel_regularizer=keras.regularizers.L2(0.01))
    return keras.Sequential([keras.Input((5,)), dense, keras.layers.BatchNormalization(), keras.layers.Dropout(dropout), keras.layers.Dense(1)])

def batch(seed=0, rows=48, padded=64):
    generator = np.random.default_rng(seed)
    features = generator.normal(0, 1, (padded, 5)).astype(np.float32)
    labels = (generator.random(padded) < 0.4).astype(np.float32)
    weights = (np.arange(padded) < rows).astype(np.float32)
    return Batch(features * weights[:, None], labels * weights, weights, rows)
"""


@pytest.fixture(scope="module")
def found():
    """Return what JAX makes of the same steps on 1 and 4 logical devices."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2] / "src"), *sys.path]),
        "KERAS_BACKEND": "jax",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = [sys.executable, "-c", SCRIPT, SHARED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "FOUND" in done.stdout, done.stderr[-4000:]
    return json.loads(done.stdout.partition("FOUND")[2])


def test_four_devices_make_the_steps_of_one_dropout_and_batch_normalisation_included(found):
    one, several = found["one"], found["2 by 2"]
    assert (one["replicas"], several["replicas"]) == (1, 2)
    assert several["hardware"].startswith("4 CPU (")
    assert several["hardware"].endswith("JAX, rows over 2, weights over 2")
    assert several["shards"] == ["(1,)", "(4,)", "(5, 4)", "(8, 1)"]  # a device holds half of the first layer's weights
    for mine, theirs in zip([*several["sums"], several["evaluated"]], [*one["sums"], one["evaluated"]], strict=True):
        np.testing.assert_allclose(mine[0], theirs[0], rtol=1e-5)
        assert mine[1:] == theirs[1:]
    for part in ("final", "started"):
        for variable, value in one[part].items():
            np.testing.assert_allclose(several[part][variable], value, rtol=2e-4, atol=1e-5, err_msg=variable)


def test_a_restored_state_goes_on_bit_by_bit_dropout_and_split_weights_included(found):
    names = ("one", "2 by 2", "without dropout", "bfloat16", "float16")
    assert {name: found[name]["resumes"] for name in names} == dict.fromkeys(names, True)


def test_the_sums_are_those_of_tensorflow_from_the_same_weights(found):
    names = {"keras": keras, "np": np, "Batch": Batch}
    exec(SHARED, names)
    batch = names["batch"]
    backend = TensorFlowSteps(Cluster(0, 1), learning_rate=0.01, steps_per_execution=2, precision="float32", jit_compile=False)
    backend.begin(lambda: names["network"](0.0))
    theirs = found["without dropout"]
    mine = backend.state()
    # Not the generator of dropout's masks: the frameworks keep different ones.
    given = {
        name: np.array(theirs["started"][name], np.float32) for name, value in mine.items() if name.startswith(MODEL) and value.dtype == np.float32
    }
    backend.restore(given)
    sums = [backend.train([batch(seed, rows)], True)() for seed, rows in enumerate((48, 64, 5))]
    sums.append(backend.train([batch(7)], False)())
    for mine, (loss, rows, scores, stops) in zip([*sums, backend.evaluate(batch(9))()], [*theirs["sums"], theirs["evaluated"]], strict=True):
        np.testing.assert_allclose(mine.loss, loss, rtol=1e-5)
        np.testing.assert_array_equal(mine.rows, rows)
        assert mine.stops == stops
        assert area_under_curve(mine.scores) == pytest.approx(area_under_curve(np.array(scores)), abs=1e-3)


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_mixed_precision_learns_the_same_within_its_precision(found, name):
    for mine, theirs in zip(found[name]["sums"], found["without dropout"]["sums"], strict=True):
        np.testing.assert_allclose(mine[0], theirs[0], rtol=0.03)
    np.testing.assert_array_equal(found[name]["exported"][0], found[name]["final"][f"{MODEL}0"])


@pytest.mark.fault(
    "Wrong input",
    "with the backend jax: a layer of TensorFlow, devices or units that model_parallel does not divide",
    "train_model says which, and what to do",
)
def test_what_cannot_run_in_jax_is_refused_in_words(found):
    assert found["of tensorflow"].startswith("the model needs TensorFlow, and `backend` is jax (")
    assert found["of tensorflow"].endswith("make it of layers and operations of Keras (keras.layers, keras.ops), or set backend to tensorflow")
    assert found["devices"] == "model_parallel is 3, and a worker has 4 CPU devices; use a divisor of 4"
    assert found["odd"] == "model_parallel is 2, and no layer's number of units is a multiple of it; change the units, or use 1"
    assert found["broken"] == "one of the user's own"
