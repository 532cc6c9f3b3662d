"""Steps in JAX, through Keras' JAX backend: rows are split over devices, and, where asked for, the weights of each layer too."""

import os
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from intermodal.runtime.errors import ConfigurationError, IntermodalError
from intermodal.training.backend import MODEL, THRESHOLDS, Sums
from intermodal.training.batches import Batch
from intermodal.training.cluster import Cluster
from intermodal.training.diagnosis.memory import activations
from intermodal.training.waiting import naming_absent_workers, wait_for_chief

_OPTIMIZER: Final = "optimizer/"
_DATA, _MODEL = "data", "model"
_LOOPBACK: Final = ("127.0.0.1", "localhost")

#: Values of the model's trainable variables, of its others, and of the optimizer's.
State = tuple[list[jax.Array], list[jax.Array], list[jax.Array]]


class JaxSteps:
    """A `Backend`. `KERAS_BACKEND` must be jax; make it before anything else runs in JAX.

    The devices of all workers are a grid: rows are split over its first axis, and `model_parallel` devices of one worker share the work on each row.
    The compiler derives the exchange between devices from how rows and weights are placed (GSPMD). A batch is computed as one array over all devices,
    so dropout's masks and batch normalisation's statistics do not depend on the number of devices.

    Args:
        cluster: Which worker this is. Several workers meet at the chief's address.
        learning_rate: Of Adam.
        precision: Of the computation: float32, mixed_bfloat16 or mixed_float16. Variables are float32.
        model_parallel: Devices of this worker over which a layer's weights are split, by their last axis, the layer's units.

    Raises:
        ConfigurationError: The cluster has no address, Keras runs with another backend, or `model_parallel` does not divide this worker's devices.
        MachineError: The chief cannot be reached.
    """

    def __init__(self, cluster: Cluster, *, learning_rate: float, precision: str, model_parallel: int) -> None:
        if keras.backend.backend() != "jax":
            raise ConfigurationError(f"Keras runs with its backend {keras.backend.backend()} in this process; set KERAS_BACKEND to jax")
        self._worker_count = cluster.count
        _connect(cluster)
        devices, mine = (sorted(each, key=lambda one: (one.process_index, one.id)) for each in (jax.devices(), jax.local_devices()))
        if len(mine) % model_parallel:
            raise ConfigurationError(
                f"model_parallel is {model_parallel}, and a worker has {len(mine)} {mine[0].platform.upper()} devices; use a divisor of {len(mine)}"
            )
        self._model_parallel, self._devices = model_parallel, mine
        self._everywhere = Mesh(np.array(devices).reshape(-1, model_parallel), (_DATA, _MODEL))
        self._here = Mesh(np.array(mine).reshape(-1, model_parallel), (_DATA, _MODEL))
        self._learning_rate, self._precision = learning_rate, precision

    @property
    def replicas(self) -> int:
        """Devices of this worker over which its rows are split."""
        return len(self._devices) // self._model_parallel

    @property
    def activations(self) -> int | None:
        """See `Backend`."""
        return activations(self._model)

    @property
    def separable(self) -> bool:
        """See `Backend`."""
        return True

    @property
    def hardware(self) -> str:
        """Devices and how they are used, in words."""
        several = f"{self._worker_count} workers, each " if self._worker_count > 1 else ""
        rows, weights = self._everywhere.devices.shape
        use = f"JAX, rows over {rows}, weights over {weights}"
        return f"{several}{len(self._devices)} {self._devices[0].platform.upper()} ({os.cpu_count()} processors); {use}"

    def exportable(self, build: Callable[[], keras.Model]) -> keras.Model:
        """Return the model with its present weights, to be exported: computed in float32, on one device.

        Args:
            build: As `begin` got it.
        """
        plain = build()
        values = dict(zip((id(each) for each in self._model.variables), self._model_values(), strict=True))
        plain.set_weights([values[id(each)] for each in self._model.weights])
        return plain

    def begin(self, build: Callable[[], keras.Model]) -> None:
        """See `Backend`. The workers take the chief's weights.

        Raises:
            ConfigurationError: The model function needs TensorFlow, or no weight can be split as `model_parallel` says.
        """
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self._precision)
        try:
            with _no_tensorflow():
                self._model = build()
            self._optimizer = keras.optimizers.Adam(self._learning_rate, name="adam")
            if self._precision == "mixed_float16":
                self._optimizer = keras.optimizers.LossScaleOptimizer(self._optimizer, name="loss_scale")
            self._optimizer.build(self._model.trainable_variables)
        finally:
            keras.config.set_dtype_policy(before)
        model = self._model
        kinds = (model.trainable_variables, model.non_trainable_variables, self._optimizer.variables)
        place_of = {id(each): (kind, place) for kind, variables in enumerate(kinds) for place, each in enumerate(variables)}
        # Named by place, as the TensorFlow backend does.
        named = {f"{MODEL}{place}": each for place, each in enumerate(model.variables)}
        named |= {f"{_OPTIMIZER}{place}": each for place, each in enumerate(self._optimizer.variables)}
        self._places = {name: place_of[id(each)] for name, each in named.items()}
        self._parts = tuple([self._part(kind, each) for each in variables] for kind, variables in enumerate(kinds))
        if self._model_parallel > 1 and not any(_MODEL in part for part in self._parts[0]):
            raise ConfigurationError(
                f"model_parallel is {self._model_parallel}, and no layer's number of units is a multiple of it; change the units, or use 1"
            )
        values = [[np.array(each) for each in variables] for variables in kinds]
        if self._worker_count > 1:
            values = multihost_utils.broadcast_one_to_all(values)
        self._state: State = tuple(  # type: ignore[assignment]
            [self._placed(np.asarray(value), part) for value, part in zip(given, parts, strict=True)]
            for given, parts in zip(values, self._parts, strict=True)
        )
        stay = tuple([NamedSharding(self._everywhere, part) for part in parts] for parts in self._parts)
        self._train = jax.jit(self._make_steps, donate_argnums=0, out_shardings=(stay, NamedSharding(self._everywhere, P())))
        self._evaluate = jax.jit(self._score_rows)

    def train(self, batches: Sequence[Batch], stop: bool) -> Callable[[], Sums]:
        """See `Backend`."""
        arrays = [np.stack([getattr(batch, name) for batch in batches]) for name in ("features", "labels", "weights")]
        arrays.append(np.full((len(batches), self.replicas), stop / self.replicas, np.float32))
        split = NamedSharding(self._everywhere, P(None, _DATA))
        given = tuple(jax.make_array_from_process_local_data(split, each) for each in arrays)
        with _no_tensorflow():
            self._state, found = self._train(self._state, (*given, np.array([batch.rows for batch in batches], np.float32)))
        return lambda: Sums.of_steps(np.asarray(found))

    def evaluate(self, batch: Batch) -> Callable[[], Sums]:
        """See `Backend`."""
        split = NamedSharding(self._here, P(_DATA))
        given = [jax.device_put(each, split) for each in (batch.features, batch.labels, batch.weights)]
        local = [[self._local(each, part) for each, part in zip(*both, strict=True)] for both in zip(self._state[:2], self._parts[:2], strict=True)]
        found = self._evaluate(*local, *given)
        return lambda: Sums.of_steps(np.asarray(found)[None])

    def attempt(self, batch: Batch) -> None:
        """See `Backend`."""
        # Zeros: a step that failed has taken the weights with it.
        state = tuple(
            [jax.device_put(np.zeros(value.shape, value.dtype), NamedSharding(self._here, part)) for value, part in zip(*both, strict=True)]
            for both in zip(self._state, self._parts, strict=True)
        )
        split = NamedSharding(self._here, P(None, _DATA))
        stops = np.zeros(self.replicas, np.float32)
        given = [jax.device_put(each[None], split) for each in (batch.features, batch.labels, batch.weights, stops)]
        with _no_tensorflow():
            _, found = jax.jit(self._make_steps, donate_argnums=0)(state, (*given, np.array([batch.rows], np.float32)))
        np.asarray(found)

    def total(self, values: np.ndarray) -> np.ndarray:
        """See `Backend`."""
        if self._worker_count == 1 or not values.size:
            return values
        # As words of 32 bits, for JAX would round to 32 bits; the sum is NumPy's.
        words = np.ascontiguousarray(values).reshape(-1).view(np.uint32)
        gathered = np.ascontiguousarray(multihost_utils.process_allgather(words))
        return np.asarray(gathered.view(values.dtype).sum(axis=0).reshape(values.shape))

    def state(self) -> dict[str, np.ndarray]:
        """See `Backend`."""
        return {name: _whole(self._state[kind][place]) for name, (kind, place) in self._places.items()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """See `Backend`."""
        for name, value in state.items():
            kind, place = self._places[name]
            self._state[kind][place] = self._placed(value, self._parts[kind][place])

    def _model_values(self) -> list[np.ndarray]:
        return [value for name, value in self.state().items() if name.startswith(MODEL)]

    def _part(self, kind: int, variable: Any) -> P:
        """Return which axes of a variable are split: the last of a weight, and of the optimizer's moments, where `model_parallel` divides it."""
        shape = tuple(variable.shape)
        trained = kind != 1  # statistics and generators' states stay whole
        if self._model_parallel == 1 or not trained or not shape or shape[-1] % self._model_parallel:
            return P()
        return P(*[None] * (len(shape) - 1), _MODEL)

    def _placed(self, value: np.ndarray, part: P) -> jax.Array:
        """Return an array that all workers have as one over all devices."""
        # Copies: a step overwrites its arrays, and one of a CPU may be the memory that it was made of.
        return jax.make_array_from_callback(value.shape, NamedSharding(self._everywhere, part), lambda index: np.array(value[index]))

    def _local(self, value: jax.Array, part: P) -> jax.Array:
        """Return a variable as an array over this worker's devices alone; nothing is copied."""
        if self._worker_count == 1:
            return value
        shards = [each.data for each in value.addressable_shards]
        return jax.make_array_from_single_device_arrays(value.shape, NamedSharding(self._here, part), shards)

    def _make_steps(self, state: State, given: tuple[jax.Array, ...]) -> tuple[State, jax.Array]:
        return jax.lax.scan(self._make_step, state, given)  # type: ignore[no-any-return]

    def _make_step(self, state: State, given: tuple[jax.Array, ...]) -> tuple[State, jax.Array]:
        trainable, others, optimizer = state
        features, labels, weights, stops, rows = given

        def objective(trainable: list[jax.Array]) -> tuple[jax.Array, Any]:
            logits, changed, penalty = self._forward(trainable, others, features, training=True)
            loss = jnp.sum(_row_losses(logits, labels) * weights)
            with keras.StatelessScope(state_mapping=list(zip(self._optimizer.variables, optimizer, strict=True))):
                scaled = self._optimizer.scale_loss(loss / rows + penalty)
            return scaled, (logits, changed, loss, penalty)

        gradients, (logits, changed, loss, penalty) = jax.grad(objective, has_aux=True)(trainable)
        trainable, optimizer = self._optimizer.stateless_apply(optimizer, gradients, trainable)
        counted = jnp.stack([loss, jnp.sum(weights), penalty * rows, jnp.sum(stops)])
        return (list(trainable), list(changed), list(optimizer)), jnp.concatenate([counted, _counts(logits, labels, weights)])

    def _score_rows(self, trainable: Any, others: Any, features: Any, labels: Any, weights: Any) -> jax.Array:
        logits, _, penalty = self._forward(trainable, others, features, training=False)
        rows = jnp.sum(weights)
        counted = jnp.stack([jnp.sum(_row_losses(logits, labels) * weights), rows, penalty * rows, jnp.float32(0)])
        return jnp.concatenate([counted, _counts(logits, labels, weights)])

    def _forward(self, trainable: Any, others: Any, features: Any, training: bool) -> tuple[jax.Array, Any, jax.Array]:
        """Return the logits, shape (rows,), the other variables' new values, and the model's own penalties."""
        outputs, changed, penalties = self._model.stateless_call(trainable, others, features, training=training, return_losses=True)
        return outputs[:, 0].astype(jnp.float32), changed, sum((each.astype(jnp.float32) for each in penalties), jnp.float32(0))


def _connect(cluster: Cluster) -> None:
    if cluster.count == 1:
        return
    if not cluster.addresses:
        raise ConfigurationError(
            f"{cluster.source} in the environment gives no address of the chief of {cluster.count} workers; set JAX_COORDINATOR_ADDRESS or TF_CONFIG"
        )
    address = cluster.addresses[0]
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # SIGTERM is the loop's
    bound = address if address.rpartition(":")[0] in _LOOPBACK else None  # Default: all addresses of the machine
    chief = replace(cluster, addresses=(address,))  # the others listen elsewhere than their addresses say
    with naming_absent_workers(chief):
        wait_for_chief(chief)
        # The place is known. In a pod JAX would ask the cluster for it, and fail where the pod has no token.
        jax.distributed.initialize(address, cluster.count, cluster.index, coordinator_bind_address=bound, cluster_detection_method="deactivate")


@contextmanager
def _no_tensorflow() -> Iterator[None]:
    """Say in words that a model uses TensorFlow."""
    filtered = keras.config.is_traceback_filtering_enabled()
    keras.config.disable_traceback_filtering()  # it hides TensorFlow's frames, and fails itself on some of JAX's errors
    try:
        yield
    except IntermodalError:
        raise
    except Exception as error:  # the framework's own types differ by layer and version
        # Keras makes another error of JAX's, and may fail in that: the first one is what happened.
        first: BaseException = error
        while first.__cause__ or first.__context__:
            first = first.__cause__ or first.__context__ or first
        frames = [frame.f_globals.get("__name__", "") for each in (error, first) for frame, _ in traceback.walk_tb(each.__traceback__)]
        inside = any(name.partition(".")[0] == "tensorflow" for name in frames)
        if not inside and "tensorflow" not in str(error).lower():
            raise
        said = str(first).strip().splitlines()
        raise ConfigurationError(
            f"the model needs TensorFlow, and `backend` is jax ({type(first).__name__}: {said[0][:200] if said else ''}); "
            "make it of layers and operations of Keras (keras.layers, keras.ops), or set backend to tensorflow"
        ) from error
    finally:
        if filtered:
            keras.config.enable_traceback_filtering()


def _whole(value: jax.Array) -> np.ndarray:
    """Return a copy of an array, of which this worker's devices hold all parts."""
    if value.is_fully_replicated:
        return np.array(value.addressable_data(0))
    found = np.empty(value.shape, value.dtype)
    for shard in value.addressable_shards:
        found[shard.index] = shard.data
    return found


def _row_losses(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.maximum(logits, 0) - logits * labels + jnp.log1p(jnp.exp(-jnp.abs(logits)))


def _counts(logits: jax.Array, labels: jax.Array, weights: jax.Array) -> jax.Array:
    """Return the weights of the rows by label and by the thresholds that their probability lies between, shape (2 * THRESHOLDS,)."""
    places = jnp.ceil(jax.nn.sigmoid(logits) * (THRESHOLDS - 1)).astype(jnp.int32) - 1
    places = jnp.clip(places, 0, THRESHOLDS - 1)  # a probability that is no number counts as 0
    return jax.ops.segment_sum(weights, places + THRESHOLDS * labels.astype(jnp.int32), 2 * THRESHOLDS)
