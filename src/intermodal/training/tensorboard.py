"""The curves of a training for TensorBoard."""

from pathlib import Path

from intermodal.runtime.tensorflow import tf


class TensorBoardCurves:
    """Writes `epoch_NAME` of each curve, training and validation apart, as Keras does.

    Args:
        folder: The log directory.
    """

    def __init__(self, folder: Path) -> None:
        self._writers = {part: tf.summary.create_file_writer(str(folder / part)) for part in ("train", "validation")}

    def write(self, epoch: int, values: dict[str, float]) -> None:
        """Write the numbers of an epoch, from 1; those of the validation are called `val_NAME`."""
        for name, value in values.items():
            part = "validation" if name.startswith("val_") else "train"
            with self._writers[part].as_default():
                tf.summary.scalar(f"epoch_{name.removeprefix('val_')}", value, epoch - 1)

    def close(self) -> None:
        """Write what is left."""
        for writer in self._writers.values():
            writer.close()
