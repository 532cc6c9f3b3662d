"""What the chief writes: the SavedModel, the training's record, the metrics and the learning curves."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from intermodal.drawing.figures import learning_curves
from intermodal.drawing.page import page
from intermodal.inference.trained_rows import hashed_rows, write_trained_rows
from intermodal.runtime.artifacts import whole_directory, whole_file, write_json
from intermodal.runtime.datasets.listing import TRAIN, VALIDATION
from intermodal.training.fit import Fit
from intermodal.training.loop import History
from intermodal.training.model.examples import example_row
from intermodal.training.model.exporting import export, export_weights
from intermodal.training.tensorboard import TensorBoardCurves
from intermodal.workers.processes import run_process

#: Of the process that writes the SavedModel where this one's Keras does not run on TensorFlow, and holds the GPU's memory.
_EXPORT: Final = {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": ""}


@dataclass(frozen=True)
class Outputs:
    """The directories under way, which are there when the block of `open_outputs` ends well.

    Attributes:
        model: The SavedModel's.
        training: The record's.
        curves: Gets the numbers of each epoch.
        rows: Hashes of the rows that are trained on; see `hashed_rows`.
    """

    model: Path
    training: Path
    curves: TensorBoardCurves
    rows: pa.Table

    def write(self, fit: Fit, head: Any, history: History, reproduction: dict[str, str]) -> None:
        """Write both directories' files.

        Args:
            fit: The training, which has ended.
            head: Its model, `Fit.exportable`.
            history: A list of values per epoch for each curve.
            reproduction: What a repetition needs.
        """
        self.curves.close()
        (self.training / "checkpoints").mkdir()
        weights = self.training / "checkpoints" / "best.weights.h5"
        head.save_weights(weights)
        write_json(self.training / "history.json", history)
        write_json(self.training / "hyperparameters.json", fit.recipe.hyperparameters)
        write_json(self.training / "reproduction.json", reproduction)
        if fit.recipe.backend == "tensorflow":
            export(head, fit.preprocess, fit.inputs, self.model)
        else:
            self._export_elsewhere(fit, weights)
        write_trained_rows(self.model, self.rows)
        inputs = [each.signature() for each in fit.inputs]
        write_json(self.model / "signature.json", {"inputs": inputs, "output": "probability", "example": example_row(fit.examples, fit.inputs)})

    def _export_elsewhere(self, fit: Fit, weights: Path) -> None:
        recipe = fit.recipe
        arguments = {
            "code_path": recipe.code_path,
            "model_function": recipe.model_function,
            "settings": recipe.hyperparameters,
            "inputs": [asdict(each) for each in fit.inputs],
            "weights_path": str(weights),
            "model_path": str(self.model),
        }
        run_process(f"{export_weights.__module__}:{export_weights.__name__}", arguments, _EXPORT)


@contextmanager
def open_outputs(fit: Fit, model_path: str, training_path: str) -> Iterator[Outputs]:
    """Give the directories to write to; both appear when the block ends well, neither otherwise."""
    rows = hashed_rows(
        lambda columns: (batch for part in (TRAIN, VALIDATION) for batch in fit.examples.tables(part, columns)),
        fit.examples.schema(TRAIN).names,
        [fit.recipe.label, *(each.name for each in fit.inputs)],
    )
    with whole_directory(training_path) as training, whole_directory(model_path) as model:
        yield Outputs(model, training, TensorBoardCurves(training / "logs"), rows)


def write_numbers(metrics: dict[str, float], history: History, metrics_path: str, curves_path: str) -> None:
    """Write the metrics, and the page with the learning curves."""
    write_json(metrics_path, metrics)
    drawn = page("Learning curves", learning_curves(history), "There are none: the training has no finite number.")
    with whole_file(curves_path) as file:
        file.write_text(drawn, encoding="utf-8")
