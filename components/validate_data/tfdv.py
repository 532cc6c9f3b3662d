"""TFDV, without what only its notebooks and file writers need.

TFDV's package imports TensorFlow for little more than `tf.io.gfile`, which costs 400 MB and two of its three seconds. Here its modules are
imported one by one (its own package initialiser does not run) and `tensorflow` is loaded when something first reads an attribute of it, which
nothing on our path does. These modules are not public API: the versions are pinned, and the tests hold the results to the public API's.
"""

import importlib
import importlib.util
import logging
import sys
import types
import warnings
from typing import Any


class _DeferredModule(types.ModuleType):
    """Stands for a module until an attribute is read; `importlib.util.LazyLoader` would load at `inspect.getmodule`, which Beam calls."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def _defer(name: str) -> None:
    if name not in sys.modules:
        sys.modules[name] = _DeferredModule(name)


def _import_without_initialiser(name: str) -> None:
    """Put a package into `sys.modules`, so that its modules can be imported, without running its `__init__`."""
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    assert spec is not None
    package = types.ModuleType(name)
    package.__spec__ = spec
    package.__path__ = list(spec.submodule_search_locations or [])
    sys.modules[name] = package


_defer("tensorflow")
# Only for splitting the work by feature, which is not done here; it exists as C++ source alone, and a bare machine has no compiler.
_defer("farmhash")
_import_without_initialiser("tensorflow_data_validation")

logging.disable(logging.WARNING)  # Beam, about libraries that only TFRecord files need.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # Google's client libraries, about Python versions to come.
    from tensorflow_data_validation.pywrap.tensorflow_data_validation_extension import validation
    from tensorflow_data_validation.statistics.generators.basic_stats_generator import BasicStatsGenerator
    from tensorflow_data_validation.statistics.generators.top_k_uniques_sketch_stats_generator import TopKUniquesSketchStatsGenerator
    from tfx_bsl.arrow.array_util import ToSingletonListArray
    from tfx_bsl.statistics.merge_util import merge_dataset_feature_statistics
logging.disable(logging.NOTSET)

__all__ = ["BasicStatsGenerator", "ToSingletonListArray", "TopKUniquesSketchStatsGenerator", "merge_dataset_feature_statistics", "validation"]
