"""SavedModels, read from folders of any name."""

import glob
import tempfile
from pathlib import Path
from typing import Any

import tensorflow as tf


def load_saved_model(folder: Path) -> Any:
    """Load a SavedModel; keep what is returned, for its signatures hold its variables only while it lives.

    Raises:
        OSError: There is none in the folder.
    """
    if not glob.has_magic(str(folder)):
        return tf.saved_model.load(str(folder))
    # TensorFlow looks for the variables by a pattern, so brackets in a folder's name hide them: it gets a link without.
    with tempfile.TemporaryDirectory() as place:
        link = Path(place) / "model"
        link.symlink_to(folder.absolute(), target_is_directory=True)
        return tf.saved_model.load(str(link))
