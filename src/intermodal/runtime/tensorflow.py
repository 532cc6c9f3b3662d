"""TensorFlow and its Keras, imported without JAX.

TensorFlow Lite's converter imports JAX where that is installed: 0.7 of the 4.4 seconds that importing TensorFlow takes here, for nothing.
"""

import os
import sys

__all__ = ["keras", "tf"]

_HIDDEN = "jax" not in sys.modules and os.environ.get("KERAS_BACKEND") != "jax"

if _HIDDEN:
    sys.modules["jax"] = None  # type: ignore[assignment]  # `import jax` then fails, as where it is not installed
try:
    import tensorflow as tf
    from tensorflow import keras
finally:
    if _HIDDEN:
        del sys.modules["jax"]
