"""The memory of this training's steps: foreseen before the first, explained when one fails."""

import sys
from typing import Final

import numpy as np

from intermodal.runtime.errors import ConfigurationError
from intermodal.training.backend import Backend
from intermodal.training.batches import Batch
from intermodal.training.cluster import Cluster
from intermodal.training.diagnosis.memory import Forecast, forecast, forget, is_out_of_memory, rows_that_fit
from intermodal.training.rows import Part

_REMEDY: Final = "use that, more workers, or machines with more memory"


class StepMemory:
    """What the steps of a training take.

    Args:
        backend: Its model is built.
        train: This worker's rows.
        cluster: Which worker this is.
        steps_per_execution: Steps whose rows are brought to the devices at once.
    """

    def __init__(self, backend: Backend, train: Part, cluster: Cluster, steps_per_execution: int) -> None:
        self._backend, self._train, self._cluster, self._several = backend, train, cluster, steps_per_execution

    def foresee(self) -> None:
        """Say a line if the steps may need more memory than there is: a process that the kernel ends says nothing more.

        Raises:
            ConfigurationError: They certainly need more.
        """
        host = [each.rpartition(":")[0] for each in self._cluster.addresses]
        sharing = host.count(host[self._cluster.index]) if len(host) > self._cluster.index else 1
        if not self._backend.separable:
            return
        try:
            found = forecast(self._attempt, self._train.padded, sharing, self._backend.activations, self._train.width)
        except Exception as error:  # each framework has types of its own
            if not is_out_of_memory(error):
                raise
            raise self.explained(error, 1, 1) from error
        if found and found.close:
            sentence = self._foreseen(found)
            if found.refused:
                raise ConfigurationError(sentence)
            sys.stdout.write(f"memory: {sentence}\n")
            sys.stdout.flush()

    def explained(self, error: BaseException, epoch: int, step: int) -> ConfigurationError:
        """Return an error that says which batch would have fit, found by trials in this process.

        Args:
            error: Of the step; what its frames hold is let go.
            epoch: From 1.
            step: Of the epoch, from 1; above its steps: the validation.
        """
        said = next((line for line in str(error).splitlines() if "OOM" in line or "memory" in line.lower()), str(error).strip()[:200])
        forget(error)
        if step > self._train.order.steps:
            return ConfigurationError(f"the validation of epoch {epoch} ran out of memory: {said[:300]}; use machines with more memory")
        where = f"step {step} of epoch {epoch} ran out of memory with batch_size {self._train.order.batch}: {said[:300]}"
        if not self._backend.separable:
            return ConfigurationError(f"{where}. Lower batch_size; how far was not tried, for the model's layers exchange numbers between workers")
        fits = self._batch(rows_that_fit(self._attempt, self._train.padded))
        if not fits:
            return ConfigurationError(f"{where}. Not one row fits beside the model: make it smaller, or use machines with more memory")
        return ConfigurationError(f"{where}. batch_size {fits} fits, found by trials in the same process: {_REMEDY}")

    def _foreseen(self, found: Forecast) -> str:
        needs = f"a step with batch_size {self._train.order.batch} needs about {_size(found.needed)} of memory, and {_size(found.free)} are free"
        if fits := self._batch(found.rows):
            return f"{needs}; batch_size {fits} fits, by steps of up to {found.tried} rows, {_size(found.each_row)} a row: {_REMEDY}"
        return f"{needs}; not one row fits: use a smaller model, or machines with more memory"

    def _attempt(self, rows: int) -> None:
        """Make a step of zeros, beside as many batches as training has in memory."""
        padded = -(-rows // self._backend.replicas) * self._backend.replicas
        count = self._several + self._train.batches_ahead(padded)
        held = [_zeros(padded, self._train.width) for _ in range(count)]
        self._backend.attempt(held[0])

    def _batch(self, rows: int) -> int:
        """Return the rows of a step over all workers of which this worker has so many."""
        return rows * self._train.order.batch // self._train.padded


def _zeros(rows: int, width: int) -> Batch:
    # np.zeros would take no memory before it is written to.
    return Batch(np.full((rows, width), 0, np.float32), np.full(rows, 0, np.float32), np.full(rows, 0, np.float32), rows)


def _size(size: float) -> str:
    for unit, name in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 1 << unit:
            return f"{size / (1 << unit):.3g} {name}"
    return f"{size:.0f} bytes"
