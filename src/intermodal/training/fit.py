"""One training on this worker, from rows to weights: what `train_model` and each trial of a search do alike."""

import hashlib
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from intermodal.runtime.datasets import Dataset, open_dataset
from intermodal.runtime.datasets.listing import TRAIN, VALIDATION, examples_hash
from intermodal.runtime.errors import ConfigurationError
from intermodal.runtime.provenance import code_of
from intermodal.runtime.tensorflow import keras, tf
from intermodal.runtime.tree import tree_hash
from intermodal.runtime.user_code import exit_refused
from intermodal.training.backend import Backend
from intermodal.training.checkpoints.keeping import Checkpoints
from intermodal.training.cluster import Cluster
from intermodal.training.loop import Curves, DivergedError, Loop, Outcome, Settings
from intermodal.training.model.examples import Labels, check_labels, find_inputs, source_of
from intermodal.training.model.hyperparameters import all_hyperparameters
from intermodal.training.model.inputs import Input
from intermodal.training.model.network import network
from intermodal.training.model.preprocessing import FARTHEST, Preprocessing
from intermodal.training.order import SHARDS
from intermodal.training.progress import Progress
from intermodal.training.rows import Part
from intermodal.training.tensorflow_steps import TensorFlowSteps

#: Rows that the validation's loss is computed on at once, over all workers.
_VALIDATION_BATCH: Final = 8192


@dataclass(frozen=True)
class Recipe:
    """What is trained, on which rows, and how: arguments of the components that train.

    Attributes:
        examples_path: Rows with `train` and `validation`, or rows that these are cut from.
        label: The label's column.
        schema_path: See `find_inputs`.
        statistics_path: See `find_inputs`.
        code_path: See `network`.
        model_function: See `network`.
        hyperparameters: All of them, by name.
        seed: Of the weights and of the order of rows.
        backend: tensorflow or jax; Keras must run on it in this process.
        model_parallel: Devices over which a layer's weights are split, with jax.
        steps_per_execution: Steps of one call of the compiled function.
        precision: One of `PRECISIONS`.
        jit_compile: Whether XLA compiles the steps.
    """

    examples_path: str
    label: str
    schema_path: str | None
    statistics_path: str | None
    code_path: str | None
    model_function: str
    hyperparameters: dict[str, Any]
    seed: int
    backend: str
    model_parallel: int
    steps_per_execution: int
    precision: str
    jit_compile: bool

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> "Recipe":
        """Return the recipe in a component's checked arguments; others are ignored."""
        whole = {name: int(arguments[name]) for name in ("seed", "model_parallel", "steps_per_execution")}
        given = {each.name: arguments[each.name] for each in fields(cls)}
        return cls(**given | whole | {"hyperparameters": all_hyperparameters(arguments)})


class Fit:
    """A training that is ready to run. Made by `open_fit`.

    Attributes:
        recipe: What is trained.
        cluster: Which worker this is.
        examples: The rows.
        inputs: The raw columns that the model takes.
        preprocess: From these to features.
    """

    def __init__(self, recipe: Recipe, cluster: Cluster, steps: Backend, examples: Dataset, labels: dict[str, Labels], inputs: list[Input]) -> None:
        self.recipe, self.cluster, self.examples, self.inputs = recipe, cluster, examples, inputs
        self.preprocess = Preprocessing(inputs)
        self._steps, self._labels = steps, labels
        self._build = network(recipe.code_path, recipe.model_function, self.preprocess.width, recipe.hyperparameters)
        self._parts: dict[str, Part] = {}
        steps.begin(self._build)

    @contextmanager
    def reading(self) -> Iterator["Fit"]:
        """Read this worker's rows, which stay in memory or in a file of this machine's disk within the block."""
        recipe, batch_size = self.recipe, self.recipe.hyperparameters["batch_size"]
        with ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rows-")))
            for part, batch, shuffled in ((TRAIN, batch_size, recipe.seed), (VALIDATION, _VALIDATION_BATCH, None)):
                rows = source_of(self.examples, part, self._labels[part].rows, self.inputs, recipe.label, self.preprocess)
                self._parts[part] = stack.enter_context(Part(rows, self.cluster, batch, scratch, seed=shuffled, replicas=self._steps.replicas))
            if self.cluster.chief and batch_size > self._labels[TRAIN].rows:
                sys.stdout.write(f"batch_size is {batch_size}, more than the {self._labels[TRAIN].rows} rows of {TRAIN!r}: one step an epoch\n")
            yield self

    def identity(self) -> dict[str, Any]:
        """Return what a checkpoint must be of for this training to go on from it."""
        recipe = self.recipe
        return {
            "backend": recipe.backend,
            "seed": recipe.seed,
            "hyperparameters": {name: value for name, value in recipe.hyperparameters.items() if name not in ("epochs", "patience")},
            "model_function": f"{recipe.model_function} {tree_hash(recipe.code_path)}" if recipe.model_function and recipe.code_path else "",
            "precision": recipe.precision,
            "variables": _digest(self._steps.state().values(), values=False),
            "inputs": hashlib.sha256(repr(self.inputs).encode()).hexdigest()[:16],
            "rows": {part: asdict(each) for part, each in self._labels.items()},
        }

    def may_differ(self) -> dict[str, Any]:
        """Return what else a checkpoint says of its training: with another value the result is equal within rounding, not bit by bit."""
        versions = {"tensorflow": tf.__version__, "keras": keras.__version__} | ({"jax": version("jax")} if self.recipe.backend == "jax" else {})
        return {"workers": self.cluster.count, "model_parallel": self.recipe.model_parallel, **versions}

    def run(self, checkpoints: Checkpoints | None, curves: Curves | None, checkpoint_steps: int = 0, checkpoint_minutes: float = 0.0) -> Outcome:
        """Train to the end.

        Args:
            checkpoints: Where the chief writes them; None: nowhere.
            curves: Gets the numbers of each epoch, and may end the training by an error.
            checkpoint_steps: Steps between checkpoints; 0: not by steps.
            checkpoint_minutes: Minutes between checkpoints; 0: not by time.

        Raises:
            ConfigurationError: The training diverged, or the newest checkpoint is of another one.
            SystemExit: SIGTERM stopped the training.
        """
        recipe, settings = self.recipe, self.recipe.hyperparameters
        plan = Settings(settings["epochs"], settings["patience"], recipe.steps_per_execution, checkpoint_steps, checkpoint_minutes)
        progress = Progress(self.cluster.chief, self._labels[TRAIN].rows)
        loop = Loop(self._steps, self._parts[TRAIN], self._parts[VALIDATION], plan, self.cluster, checkpoints, curves, progress)
        try:
            with exit_refused(f"the model of {recipe.model_function!r}"):
                outcome = loop.run()
        except DivergedError as error:
            raise ConfigurationError(_diverged(error, settings, self.preprocess)) from error
        if outcome.stopped:
            last = f"the last checkpoint is {checkpoints.last}" if checkpoints else "the chief writes the last checkpoint"
            sys.stdout.write(f"stopped by SIGTERM; {last}, and the same task goes on from there\n")
            raise SystemExit(128 + signal.SIGTERM)
        return outcome

    def exportable(self) -> Any:
        """Return a Keras model, from features to one logit, with the present weights, computed in float32 on one device."""
        return self._steps.exportable(self._build)

    def reproduction(self, head: Any) -> dict[str, str]:
        """Return what a repetition needs, and by what it is known to be one: the hash of the weights of `exportable`."""
        return {
            "framework": "tensorflow",
            "framework_version": tf.__version__,
            "keras_version": keras.__version__,
            "python_version": platform.python_version(),
            "label": self.recipe.label,
            "seed": str(self.recipe.seed),
            "backend": self.recipe.backend,
            "workers": str(self.cluster.count),
            "hardware": self._steps.hardware,
            "precision": self.recipe.precision,
            "examples_sha256": examples_hash(Path(self.recipe.examples_path)) if self.cluster.chief else "",  # read once more, by one worker
            **code_of(os.environ),
            "weights_sha256": _digest(each.numpy() for each in head.weights),
        }


@contextmanager
def open_fit(recipe: Recipe, cluster: Cluster) -> Iterator[Fit]:
    """Give a training with its model built and its rows read.

    Raises:
        ConfigurationError: The model function cannot be used, or more workers are to share the rows than can.
        DataError: The examples, schema or statistics cannot be read, or the label is not 0 and 1 with both in each part.
        MachineError: The disk is full.
    """
    steps = _steps(recipe, cluster)  # first of all: several workers must be set up before anything runs in a framework
    keras.utils.set_random_seed(recipe.seed)
    tf.config.experimental.enable_op_determinism()
    with open_dataset(recipe.examples_path) as dataset:
        examples = dataset.with_held_out()
        labels = {part: check_labels(examples, part, recipe.label) for part in (TRAIN, VALIDATION)}
        _check_workers(cluster, labels)
        inputs = find_inputs(examples, recipe.schema_path, recipe.statistics_path, recipe.label)
        with Fit(recipe, cluster, steps, examples, labels, inputs).reading() as fit:
            yield fit


def metrics_of(outcome: Outcome) -> dict[str, float]:
    """Return the best epoch's numbers, how many `epochs` there were, the `seconds`, `rows_per_second` of the steps, and shares of their time.

    `input_wait` is the share in which the steps waited for rows; how busy the devices were, and which
    worker was slow, is as `Outcome.shares` has it.
    """
    history = outcome.history
    best = int(np.argmin(history["val_loss"]))
    spent = max(outcome.training_seconds, 1e-9)
    return {name: values[best] for name, values in history.items()} | {
        "epochs": float(len(history["loss"])),
        "seconds": round(outcome.seconds, 3),
        "rows_per_second": round(outcome.rows / spent, 1),
        "input_wait": round(outcome.waited / spent, 4),
        **outcome.shares,
    }


def _steps(recipe: Recipe, cluster: Cluster) -> Backend:
    rate = recipe.hyperparameters["learning_rate"]
    if recipe.backend == "tensorflow":
        several = recipe.steps_per_execution
        return TensorFlowSteps(cluster, learning_rate=rate, steps_per_execution=several, precision=recipe.precision, jit_compile=recipe.jit_compile)
    tf.config.set_visible_devices([], "GPU")  # it preprocesses rows here; the devices are JAX's
    from intermodal.training.jax_steps import JaxSteps  # imports JAX

    return JaxSteps(cluster, learning_rate=rate, precision=recipe.precision, model_parallel=recipe.model_parallel)


def _check_workers(cluster: Cluster, labels: dict[str, Labels]) -> None:
    most = min(SHARDS, *(each.rows for each in labels.values()))
    if cluster.count > most:
        part = min(labels, key=lambda each: labels[each].rows)
        raise ConfigurationError(
            f"workers is {cluster.count}, and at most {most} share these rows ({part!r} has {labels[part].rows}; {SHARDS} is the most); use fewer"
        )


def _diverged(error: DivergedError, settings: dict[str, Any], preprocess: Preprocessing) -> str:
    where = f"epoch {error.epoch}, step {error.step}" if error.step else f"epoch {error.epoch}, at its validation"
    remedy = f"lower learning_rate, now {settings['learning_rate']}, or raise batch_size, now {settings['batch_size']}"
    diverged = f"the training diverged in {where}: the loss is no number; {remedy}"
    if not error.batch:
        return diverged
    rows = error.batch.features[error.batch.weights > 0]
    known = preprocess.ranges(rows) if len(rows) else []
    ranges = ", ".join(f"{each.name} {each.low:.4g} to {each.high:.4g}" + (f" ({each.far:.0%} cut)" if each.far else "") for each in known[:5])
    cut = f"; values {FARTHEST:g} deviations or more from the mean are cut there" if known and known[0].far else ""
    more = f" and {len(known) - 5} more" if len(known) > 5 else ""
    return f"{diverged}. The batch of that step: {len(rows)} rows of this worker" + (f"; columns {ranges}{more}{cut}" if known else "")


def _digest(arrays: Iterable[np.ndarray], values: bool = True) -> str:
    """Return a hash of arrays: of shapes, types, and of the values. Not of names: Keras numbers the models of a process."""
    digest = hashlib.sha256()
    for value in arrays:
        digest.update(f"{value.shape} {value.dtype}\n".encode())
        if values:
            digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()
