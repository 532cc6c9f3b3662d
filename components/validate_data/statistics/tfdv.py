"""The one door to TFDV: no other module imports it or tfx_bsl.

TFDV's public functions are not used, for two measured reasons (`benchmarks/README.md`). Its accumulators, fed Arrow batches, take 26 times as many
rows a second as its public path from files (Beam), and twice as many as the one from a DataFrame, whose memory grows with the rows; the numbers are
equal. And its package imports TensorFlow for little more than `tf.io.gfile`, which costs 400 MB and two of its three seconds: here its modules are
imported one by one (the package initialiser does not run) and `tensorflow` is loaded when something first reads an attribute of it, which nothing on
our path does.

These modules are not public API: the version is pinned, and the tests compare their results with the public API's.
"""

import contextlib
import importlib
import importlib.util
import io
import logging
import sys
import types
import warnings
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2


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

Statistics: TypeAlias = statistics_pb2.DatasetFeatureStatisticsList

#: The schema environment in which statistics are validated.
TRAINING: Final = "TRAINING"

#: TFDV's in-memory mode counts with 1,024 buckets; above so many distinct values its top values are wrong and depend on how the table is cut. With
#: these many the counts are exact up to 131,072 distinct values, at no measurable cost.
_COUNT_BUCKETS: Final = 131_072

__all__ = [
    "TRAINING",
    "ToSingletonListArray",
    "infer_schema",
    "merge_dataset_feature_statistics",
    "read_quantiles",
    "statistics_generators",
    "statistics_html",
    "validate_statistics",
]


def statistics_generators(quantiles: int = 10) -> list[Any]:
    """Return what TFDV computes by default: `stats_impl.get_generators(StatsOptions(), in_memory=True)`, with more buckets to count in.

    Args:
        quantiles: Of each histogram; default: TFDV's 10.
    """
    return [
        BasicStatsGenerator(num_quantiles_histogram_buckets=quantiles),
        TopKUniquesSketchStatsGenerator(
            num_top_values=20,
            num_rank_histogram_buckets=1000,
            num_misragries_buckets=_COUNT_BUCKETS,
            num_kmv_buckets=16_384,
        ),
    ]


def read_quantiles(sketch: Any, parts: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return from a quantile sketch the values that divide what it has seen into equal parts, and how many values are at most each."""
    values, below = sketch.GetQuantilesAndCumulativeWeights(parts)
    knots, reached = values.flatten().to_numpy(zero_copy_only=False), below.flatten().to_numpy(zero_copy_only=False)
    there = np.append(reached[1:] > reached[:-1], True)  # Of fewer values than parts there is one knot each.
    return knots[there].astype(np.float64), reached[there].astype(np.float64)


def infer_schema(statistics: Statistics, domain_size: int) -> schema_pb2.Schema:
    """Do what `tfdv.infer_schema(statistics, infer_feature_shape=False, max_string_domain_size=domain_size)` does."""
    return schema_pb2.Schema.FromString(validation.InferSchema(statistics.datasets[0].SerializeToString(), domain_size, False))


def validate_statistics(statistics: Statistics, schema: schema_pb2.Schema, previous: Statistics | None = None) -> anomalies_pb2.Anomalies:
    """Do what `tfdv.validate_statistics(statistics, schema, "TRAINING", previous)` does."""
    serialised = validation.ValidateFeatureStatistics(
        statistics.datasets[0].SerializeToString(),
        schema.SerializeToString(),
        TRAINING.encode(),
        previous.datasets[0].SerializeToString() if previous else b"",
        b"",  # Statistics at serving.
        b"",  # Statistics of a previous version.
        b"",  # Features needed.
        b"",  # Validation configuration.
        False,  # No differences between this and a mended schema.
    )
    return anomalies_pb2.Anomalies.FromString(serialised)


def statistics_html(statistics: Statistics) -> str:
    """Return the HTML of `tfdv.visualize_statistics`, for one data set, under its name."""
    with contextlib.redirect_stderr(io.StringIO()):  # It complains that IPython is not there, which it does not need for this.
        from tensorflow_data_validation.utils.display_util import get_statistics_html
    html: str = get_statistics_html(statistics, lhs_name=statistics.datasets[0].name)
    return html
