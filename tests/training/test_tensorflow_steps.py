import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from tensorflow import keras

from intermodal.runtime.errors import ConfigurationError
from intermodal.training.backend import MODEL, area_under_curve
from intermodal.training.batches import Batch
from intermodal.training.cluster import Cluster
from intermodal.training.tensorflow_steps import TensorFlowSteps

WIDTH = 5


def batch(seed=0, rows=48, padded=64):
    generator = np.random.default_rng(seed)
    features = generator.normal(0, 1, (padded, WIDTH)).astype(np.float32)
    labels = (generator.random(padded) < 0.4).astype(np.float32)
    weights = (np.arange(padded) < rows).astype(np.float32)
    return Batch(features * weights[:, None], labels * weights, weights, rows)


def network(dropout=0.0):
    keras.utils.set_random_seed(4)
    dense = keras.layers.Dense(8, activation="tanh", kernel_regularizer=keras.regularizers.L2(0.01))
    return keras.Sequential([keras.Input((WIDTH,)), dense, keras.layers.Dropout(dropout), keras.layers.Dense(1)])


def steps(build=network, **given):
    backend = TensorFlowSteps(
        Cluster(0, 1), **{"learning_rate": 0.01, "steps_per_execution": 1, "precision": "float32", "jit_compile": False, **given}
    )
    backend.begin(build)
    return backend


def weights_of(backend):
    return {name: value for name, value in backend.state().items() if name.startswith(MODEL)}


def test_steps_and_sums_are_those_of_keras():
    backend, model = steps(), network()
    auc = keras.metrics.AUC(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), keras.losses.BinaryCrossentropy(from_logits=True), metrics=[auc])
    for seed in range(5):
        given_batch = batch(seed, rows=(48, 64, 1, 63, 20)[seed])
        kept = given_batch.weights > 0
        x, y = given_batch.features[kept], given_batch.labels[kept][:, None]
        evaluated = backend.evaluate(given_batch)()
        expected = model.evaluate(x, y, verbose=0, return_dict=True)
        assert evaluated.loss.sum() / evaluated.rows.sum() == pytest.approx(expected["loss"], rel=1e-5)
        if len({*y[:, 0]}) == 2:
            assert area_under_curve(evaluated.scores) == pytest.approx(expected["auc"], abs=1e-6)
        sums = backend.train([given_batch], False)()
        assert sums.rows == [len(y)]
        assert sums.scores.sum() == len(y)
        assert sums.scores[1].sum() == y.sum()
        assert sums.loss[0] / len(y) == pytest.approx(model.train_on_batch(x, y)[0], rel=1e-5)
    for mine, theirs in zip(weights_of(backend).values(), model.variables, strict=False):
        np.testing.assert_allclose(mine, theirs.numpy(), atol=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(2, 300), st.sampled_from([0.1, 1.0, 30.0]))
def test_the_area_under_the_curve_is_keras(seed, rows, spread):
    generator = np.random.default_rng(seed)
    logits = (generator.normal(0, spread, rows)).astype(np.float32)
    labels = (generator.random(rows) < 0.5).astype(np.float32)
    labels[:2] = 0, 1
    metric = keras.metrics.AUC(from_logits=True)
    metric.update_state(labels, logits)
    from intermodal.training.tensorflow_steps import _counts

    counted = _counts(tf.constant(logits), tf.constant(labels), tf.ones(rows)).numpy().reshape(2, -1)
    assert area_under_curve(counted) == pytest.approx(float(metric.result()), abs=1e-6)


def test_several_steps_of_one_call_are_the_same_steps():
    single, several = steps(lambda: network(0.3)), steps(lambda: network(0.3), steps_per_execution=4)
    batches = [batch(seed) for seed in range(7)]
    one_by_one = [single.train([each], False)() for each in batches]
    together = [several.train(group, True)() for group in (batches[:4], batches[4:])]
    np.testing.assert_allclose(np.concatenate([each.loss for each in together]), [each.loss[0] for each in one_by_one], rtol=1e-6)
    np.testing.assert_array_equal(sum(each.scores for each in together), sum(each.scores for each in one_by_one))
    assert [each.stops for each in together] == [4, 3]
    assert not any(each.stops for each in one_by_one)


def test_a_restored_state_goes_on_bit_by_bit_dropout_included():
    backend = steps(lambda: network(0.5))
    backend.train([batch(1)], False)()
    kept = backend.state()
    went_on = [backend.train([batch(2)], False)().loss[0], backend.train([batch(3)], False)().loss[0]]
    other = steps(lambda: network(0.5))
    other.restore(kept)
    assert [other.train([batch(2)], False)().loss[0], other.train([batch(3)], False)().loss[0]] == went_on
    for name, value in backend.state().items():
        np.testing.assert_array_equal(other.state()[name], value, err_msg=name)


@pytest.mark.parametrize(
    ("given", "tolerance"), [({"jit_compile": True}, 1e-5), ({"precision": "mixed_bfloat16"}, 0.03), ({"precision": "mixed_float16"}, 0.01)]
)
def test_xla_and_mixed_precision_learn_the_same_within_their_precision(given, tolerance):
    plain, other = steps(), steps(**given)
    for seed in range(4):
        expected, found = plain.train([batch(seed)], False)(), other.train([batch(seed)], False)()
        assert found.loss[0] == pytest.approx(expected.loss[0], rel=tolerance)
    exported = other.exportable(network)
    assert {each.dtype for each in exported.weights} == {"float32"}
    assert exported.compute_dtype == "float32"
    np.testing.assert_array_equal(exported.get_weights()[0], next(iter(weights_of(other).values())))
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.fault(
    "Wrong input", "a model function builds its variables under a strategy of its own", "train_model says under which, and under which it runs"
)
def test_a_model_built_under_another_strategy_is_refused():
    def build():
        with tf.distribute.OneDeviceStrategy("cpu:0").scope():
            return network()

    with pytest.raises(ConfigurationError, match=r"scope of a tf\.distribute strategy of its own, and the training runs under no strategy"):
        steps(build)


def test_a_model_that_was_built_before_the_strategy_is_refused():
    cpu = tf.distribute.MirroredStrategy(["cpu:0"])
    with cpu.scope():
        built = network()
    with pytest.raises(ConfigurationError, match=r"variable \S+kernel was made under another tf\.distribute strategy, and"):
        steps(lambda: built)


MIRRORED = """
import json, sys
import numpy as np
import tensorflow as tf
from tensorflow import keras
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
sys.path.insert(0, sys.argv[1])
import test_tensorflow_steps as tests
from intermodal.training import tensorflow_steps

class Sgd(keras.optimizers.SGD):  # unlike Adam's, its steps are proportional to the gradient
    def _all_reduce_sum_gradients(self, pairs):
        return list(pairs)

def normalised():
    return keras.Sequential([keras.Input((tests.WIDTH,)), keras.layers.BatchNormalization(), keras.layers.Dropout(0.2), keras.layers.Dense(1)])

# One for all backends here, as there is one in a process: their collectives are numbered by strategy.
mirrored, alone = tensorflow_steps._strategy(tests.Cluster(0, 1)), tf.distribute.get_strategy()

def trained(one, several):
    tensorflow_steps._strategy = lambda cluster: alone if one else mirrored
    backend = tests.steps(steps_per_execution=several)
    groups = [[tests.batch(seed) for seed in range(3)], [tests.batch(3, rows=5)]]
    sums = [backend.train(group if several > 1 else group[:1], True)() for group in groups]
    evaluated = backend.evaluate(tests.batch(9))()
    return {
        "replicas": backend.replicas,
        "hardware": backend.hardware,
        "loss": [each.loss.tolist() for each in sums],
        "rows": [each.rows.tolist() for each in sums],
        "stops": sums[0].stops,
        "scores": sums[0].scores.tolist(),
        "evaluated": [evaluated.loss.tolist(), evaluated.rows.tolist(), evaluated.scores.tolist()],
        "total": backend.total(np.array([1.5, 2.0])).tolist(),
        "weights": [value.tolist() for value in tests.weights_of(backend).values()],
        "exported": [value.tolist() for value in backend.exportable(tests.network).get_weights()],
    }

tensorflow_steps._Adam = Sgd
found = {"several": trained(False, 1), "loop": trained(False, 3)}
backend = tests.steps(normalised)
kept = backend.state()
found["normalised"] = [backend.train([tests.batch(seed)], False)().loss[0] for seed in range(2)]
backend.restore(kept)
found["again"] = [backend.train([tests.batch(seed)], False)().loss[0] for seed in range(2)]
found["one"], found["one loop"] = trained(True, 1), trained(True, 3)
print("FOUND" + json.dumps(found))
"""


def test_two_devices_of_a_host_make_the_same_steps_as_one():
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(here.parents[1] / "src"), *sys.path]), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", MIRRORED, str(here)], env=environment, capture_output=True, text=True, check=False)
    assert "FOUND" in done.stdout, done.stderr[-4000:]
    found = json.loads(done.stdout.partition("FOUND")[2])
    for several, one in (("several", "one"), ("loop", "one loop")):
        mine, theirs = found[several], found[one]
        assert (mine["replicas"], theirs["replicas"]) == (2, 1)
        assert mine["hardware"].startswith("2 CPU (")
        assert mine["hardware"].endswith("MirroredStrategy")
        assert mine["stops"] == theirs["stops"]
        assert mine["total"] == theirs["total"] == [1.5, 2.0]
        assert mine["scores"] == theirs["scores"]
        for name in ("loss", "rows", "evaluated", "weights", "exported"):
            for left, right in zip(mine[name], theirs[name], strict=True):
                np.testing.assert_allclose(np.array(left), np.array(right), rtol=1e-5, atol=1e-6, err_msg=name)
    assert np.isfinite(found["normalised"]).all()
    assert found["normalised"] == found["again"]
