"""Steps in TensorFlow: one device, several of one host, several hosts, or a TPU slice."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from intermodal.runtime.errors import ConfigurationError
from intermodal.runtime.tensorflow import keras, tf
from intermodal.training.backend import COUNTED, MODEL, THRESHOLDS, Sums
from intermodal.training.batches import Batch
from intermodal.training.cluster import Cluster
from intermodal.training.diagnosis.memory import activations
from intermodal.training.waiting import naming_absent_workers, wait_for_chief

_OPTIMIZER: Final = "optimizer/"
#: A gradient of at least so many bytes is reduced by itself.
_LARGE: Final = 1 << 20


class TensorFlowSteps:
    """A `Backend`. Make it before anything else runs in TensorFlow: several workers must be set up before its runtime begins.

    Args:
        cluster: Which worker this is. Several workers: MultiWorkerMirroredStrategy over their addresses.
        learning_rate: Of Adam.
        steps_per_execution: The most steps that `train` is called with.
        precision: Of the computation: float32, mixed_bfloat16 or mixed_float16. Variables are float32.
        jit_compile: Whether XLA compiles the forward and backward pass.

    Raises:
        ConfigurationError: The cluster has no addresses.
        MachineError: The chief cannot be reached.
    """

    def __init__(self, cluster: Cluster, *, learning_rate: float, steps_per_execution: int, precision: str, jit_compile: bool) -> None:
        self._strategy: tf.distribute.Strategy = _strategy(cluster)
        self._learning_rate, self._precision, self._jit = learning_rate, precision, jit_compile
        self._several = self._strategy.num_replicas_in_sync > 1
        self._worker_count = cluster.count
        # One step without a loop around it: 10 % faster on a small model.
        several_steps = steps_per_execution > 1
        self._train = tf.function(self._make_steps) if several_steps else tf.function(self._make_step, autograph=False)
        self._evaluate = tf.function(self._score_rows, autograph=False)
        self._try = tf.function(self._alone, autograph=False, reduce_retracing=True)
        self._forward = tf.function(self._gradients, jit_compile=True, autograph=False) if jit_compile else self._gradients
        self._stacked = several_steps

    @property
    def replicas(self) -> int:
        """Devices of this worker."""
        return int(self._strategy.num_replicas_in_sync) // self._worker_count

    @property
    def activations(self) -> int | None:
        """See `Backend`."""
        return activations(self._model)

    @property
    def separable(self) -> bool:
        """See `Backend`."""
        return self._worker_count == 1 or not any(getattr(each, "synchronized", False) for each in self._model._flatten_layers())

    @property
    def hardware(self) -> str:
        """Strategy and devices, in words."""
        kinds: dict[str, int] = {}
        for kind in self._device_kinds():
            kinds[kind] = kinds.get(kind, 0) + 1
        devices = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        several = f"{self._worker_count} workers, each " if self._worker_count > 1 else ""
        return f"{several}{devices} ({os.cpu_count()} processors); {_name(self._strategy)}"

    def _device_kinds(self) -> list[str]:
        if self._strategy is tf.distribute.get_strategy():
            return ["GPU" if tf.config.list_logical_devices("GPU") else "CPU"]
        return [str(tf.DeviceSpec.from_string(each).device_type) for each in self._strategy.extended.worker_devices]

    def exportable(self, build: Callable[[], keras.Model]) -> keras.Model:
        """Return the model with its present weights, to be exported: computed in float32, and of no strategy.

        Args:
            build: As `begin` got it.
        """
        if self._precision == "float32" and self._strategy is tf.distribute.get_strategy():
            return self._model
        plain = build()
        plain.set_weights(self._model.get_weights())
        return plain

    def begin(self, build: Callable[[], keras.Model]) -> None:
        """See `Backend`.

        Raises:
            ConfigurationError: The model's variables belong to another strategy than the steps run under.
        """
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self._precision)
        try:
            with self._strategy.scope():
                self._model = self._built(build)
                self._optimizer = _Adam(self._learning_rate, name="adam")
                if self._precision == "mixed_float16":
                    self._optimizer = _LossScale(self._optimizer, name="loss_scale")
                self._optimizer.build(self._model.trainable_variables)
        finally:
            keras.config.set_dtype_policy(before)
        # By place: Keras numbers the models of a process, so that variables' names may differ from one attempt to another.
        named = {f"{MODEL}{place}": each for place, each in enumerate(self._model.variables)}
        named |= {f"{_OPTIMIZER}{place}": each for place, each in enumerate(self._optimizer.variables)}
        self._variables: dict[str, Any] = named

    def train(self, batches: Sequence[Batch], stop: bool) -> Callable[[], Sums]:
        """See `Backend`."""
        numbers = [np.array([batch.rows, stop], np.float32) for batch in batches]
        if self._stacked:
            given = [np.stack([getattr(batch, name) for batch in batches]) for name in ("features", "labels", "weights")]
            found = self._train(*(self._split(each, 1) for each in given), tf.constant(np.stack(numbers)))
        else:
            found = self._train(*(self._split(each, 0) for each in _arrays(batches[0])), tf.constant(numbers[0]))
        return lambda: Sums.of_steps(found.numpy().reshape(len(batches), -1))

    def evaluate(self, batch: Batch) -> Callable[[], Sums]:
        """See `Backend`."""
        given = tuple(self._split(each, 0) for each in _arrays(batch))
        found = self._strategy.run(self._evaluate, given) if self._several else self._evaluate(*given)
        local = self._strategy.experimental_local_results(found)
        return lambda: Sums.of_steps(np.sum([each.numpy() for each in local], axis=0)[None])

    def attempt(self, batch: Batch) -> None:
        """See `Backend`."""
        kept = {each: np.array(each.numpy()) for each in (variable.value for variable in self._model.non_trainable_variables)}
        rows = tf.constant(float(batch.rows))
        given = tuple(self._split(each, 0) for each in _arrays(batch))
        try:
            found = self._strategy.run(self._try, (*given, rows)) if self._several else self._try(*given, rows)
            self._first(found).numpy()
        finally:
            for variable, value in kept.items():
                variable.assign(value)

    def total(self, values: np.ndarray) -> np.ndarray:
        """See `Backend`."""
        if self._worker_count == 1:
            return values
        empty = tf.zeros(values.shape, values.dtype)

        def given(context: Any) -> tf.Tensor:
            # The first device of each worker brings the values.
            return tf.constant(values) if context.replica_id_in_sync_group % self.replicas == 0 else empty

        brought = self._strategy.experimental_distribute_values_from_function(given)
        return np.asarray(self._reduce(brought))

    def state(self) -> dict[str, np.ndarray]:
        """See `Backend`."""
        return {name: np.array(variable.numpy()) for name, variable in self._variables.items()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """See `Backend`."""
        for name, value in state.items():
            self._variables[name].assign(value)

    def _built(self, build: Callable[[], keras.Model]) -> keras.Model:
        remedy = f"the training runs under {_name(self._strategy)}; let the model function build the model anew, and enter no strategy"
        try:
            model = build()
        except RuntimeError as error:
            if "Mixing different tf.distribute.Strategy" not in str(error):
                raise
            raise ConfigurationError(f"the model function enters the scope of a tf.distribute strategy of its own, and {remedy}") from error
        foreign = [each.path for each in model.variables if not self._strategy.extended.variable_created_in_scope(each.value)]
        if foreign:
            raise ConfigurationError(f"the model's variable {foreign[0]} was made under another tf.distribute strategy, and {remedy}")
        return model

    def _split(self, values: np.ndarray, axis: int) -> Any:
        """Return an array as a tensor, or a part of it for each device of this worker."""
        if self.replicas == 1:
            return tf.constant(values)
        parts = np.split(values, self.replicas, axis)
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(parts[context.replica_id_in_sync_group % self.replicas])
        )

    def _make_step(self, features: Any, labels: Any, weights: Any, numbers: tf.Tensor) -> tf.Tensor:
        if not self._several:
            return self._one(features, labels, weights, numbers)
        return self._first(self._strategy.run(self._one, (features, labels, weights, numbers)))

    def _make_steps(self, features: Any, labels: Any, weights: Any, numbers: tf.Tensor) -> tf.Tensor:
        count = tf.shape(numbers)[0]
        found = tf.TensorArray(tf.float32, count, element_shape=(COUNTED + 2 * THRESHOLDS,))
        for step in tf.range(count):
            if self._several:
                sums = self._first(self._strategy.run(self._one_of, (features, labels, weights, numbers, step)))
            else:
                sums = self._one_of(features, labels, weights, numbers, step)
            found = found.write(step, sums)
        return found.stack()

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
    def _one_of(self, features: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, numbers: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        return self._one(features[step], labels[step], weights[step], numbers[step])

    def _one(self, features: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        """Make one step on one device; return the sums over all devices of all workers."""
        rows = numbers[0]
        gradients, loss, penalty, logits = self._forward(features, labels, weights, rows)
        # Devices of one worker share its wish to stop.
        counted = tf.stack([loss, tf.reduce_sum(weights), penalty * rows, numbers[1] / self.replicas])
        sums = tf.concat([counted, _counts(logits, labels, weights)], 0)
        if self._several:
            *gradients, sums = _reduced([*gradients, sums])
        self._optimizer.apply(gradients, self._model.trainable_variables)
        return sums

    def _alone(self, features: Any, labels: Any, weights: Any, rows: tf.Tensor) -> tf.Tensor:
        """Make the forward and backward pass of one device, and as one array its gradients, as they are when devices exchange them."""
        gradients, loss, _, _ = self._forward(features, labels, weights, rows)
        return tf.reduce_sum(tf.concat([tf.reshape(each, [-1]) for each in gradients], 0)) + loss

    def _gradients(self, features: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, rows: tf.Tensor) -> tuple[list[tf.Tensor], Any, Any, Any]:
        with tf.GradientTape() as tape:
            logits = tf.cast(self._model(features, training=True)[:, 0], tf.float32)
            loss = tf.reduce_sum(_row_losses(logits, labels) * weights)
            penalty = self._penalty()
            total = loss / rows + penalty
            scaled = self._optimizer.scale_loss(total)
        variables = [each.value for each in self._model.trainable_variables]
        found = tape.gradient(scaled, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [tf.convert_to_tensor(each) for each in found], loss, penalty, logits

    def _score_rows(self, features: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        logits = tf.cast(self._model(features, training=False)[:, 0], tf.float32)
        loss = tf.reduce_sum(_row_losses(logits, labels) * weights)
        rows = tf.reduce_sum(weights)
        return tf.concat(
            [tf.stack([loss, rows, self._penalty() * self._strategy.num_replicas_in_sync * rows, 0.0]), _counts(logits, labels, weights)], 0
        )

    def _penalty(self) -> tf.Tensor:
        """Return this device's share of the model's own losses, regularization for instance."""
        found = [tf.cast(each, tf.float32) for each in self._model.losses]
        return tf.add_n(found) / self._strategy.num_replicas_in_sync if found else tf.constant(0.0)

    def _first(self, values: Any) -> tf.Tensor:
        return self._strategy.experimental_local_results(values)[0]

    @tf.function  # type: ignore[untyped-decorator]
    def _reduce(self, values: Any) -> tf.Tensor:
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None)


class _Adam(keras.optimizers.Adam):  # type: ignore[misc]
    """Adam whose gradients come summed over the replicas already."""

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> list[Any]:
        return list(grads_and_vars)


class _LossScale(keras.optimizers.LossScaleOptimizer):  # type: ignore[misc]
    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> list[Any]:
        return list(grads_and_vars)


def _strategy(cluster: Cluster) -> tf.distribute.Strategy:
    if cluster.count > 1:
        if len(cluster.addresses) != cluster.count:
            raise ConfigurationError(
                f"{cluster.source} in the environment gives no address of each of the {cluster.count} workers, which TensorFlow needs; set TF_CONFIG"
            )
        specification = tf.train.ClusterSpec({"worker": list(cluster.addresses)})
        resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(specification, task_type="worker", task_id=cluster.index, rpc_layer="grpc")
        with naming_absent_workers(cluster):
            wait_for_chief(cluster)
            return tf.distribute.MultiWorkerMirroredStrategy(resolver)
    if os.environ.get("TPU_NAME") or any(Path("/dev").glob("accel[0-9]*")):
        tpu = tf.distribute.cluster_resolver.TPUClusterResolver(os.environ.get("TPU_NAME") or "local")
        tf.config.experimental_connect_to_cluster(tpu)
        tf.tpu.experimental.initialize_tpu_system(tpu)
        return tf.distribute.TPUStrategy(tpu)
    for kind in ("GPU", "CPU"):
        devices = tf.config.list_physical_devices(kind)
        logical = [tf.config.get_logical_device_configuration(each) for each in devices]
        count = sum(len(each) if each else 1 for each in logical)
        if count > 1:
            return tf.distribute.MirroredStrategy([f"{kind}:{number}" for number in range(count)])
        if count:
            break
    return tf.distribute.get_strategy()


def _name(strategy: tf.distribute.Strategy) -> str:
    name = type(strategy).__name__
    return {"_DefaultDistributionStrategy": "no strategy", "CollectiveAllReduceStrategy": "MultiWorkerMirroredStrategy"}.get(name, name)


def _arrays(batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return batch.features, batch.labels, batch.weights


def _reduced(values: list[tf.Tensor]) -> list[tf.Tensor]:
    """Return the sums of some tensors over all devices of all workers.

    Small ones go in one reduction, for each costs a round trip between the workers. A large one goes by itself: it is sent while the backward pass
    still computes the others, and is not copied into one array with them.
    """
    reduce = tf.distribute.get_replica_context().all_reduce
    large = [place for place, each in enumerate(values) if (each.shape.num_elements() or 0) * each.dtype.size >= _LARGE]
    small = [place for place in range(len(values)) if place not in large]
    found = {place: reduce(tf.distribute.ReduceOp.SUM, values[place]) for place in reversed(large)}
    if small:
        found |= dict(zip(small, reduce(tf.distribute.ReduceOp.SUM, [values[place] for place in small]), strict=True))
    return [found[place] for place in range(len(values))]


def _row_losses(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)


def _counts(logits: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Return the weights of the rows by label and by the thresholds that their probability lies between, shape (2 * THRESHOLDS,)."""
    places = tf.cast(tf.math.ceil(tf.sigmoid(logits) * (THRESHOLDS - 1)), tf.int32) - 1
    places = tf.clip_by_value(places, 0, THRESHOLDS - 1)  # a probability that is no number counts as 0
    return tf.math.unsorted_segment_sum(weights, places + THRESHOLDS * tf.cast(labels, tf.int32), 2 * THRESHOLDS)
