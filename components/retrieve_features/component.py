"""Contract of `retrieve_features`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="data")
def retrieve_features(
    tables: dsl.Input[dsl.Dataset],
    repository: dsl.Input[dsl.Artifact],
    feature_service: str,
    spine: str,
    feature_store: dict,
    examples: dsl.Output[dsl.Dataset],
    data_version: str = "",
):
    """Join to each labelled row the feature values that were known at its moment, with Feast.

    Args:
        tables: Feature sources and the spine, as `transform_tables` writes them.
        repository: A directory of Feast definitions (`*.py`: entities, sources, feature views, feature services), whose relative file
            sources are files of `tables`.
        feature_service: The feature service to retrieve.
        spine: The table whose rows are labelled: entity keys, `event_timestamp` (with a time zone), the label, any columns known with the
            request, and `split` where the data is split.
        feature_store: Feast's own settings, as in feature_store.yaml, beside the defaults (DuckDB with ASOF joins for the offline store).
        examples: A directory: `<part>/*.parquet`, the spine's rows in order with the features beside them; all rows in `train` when the
            spine has no column `split`.
        data_version: For sources outside `tables` (absolute paths, URIs, servers), which are refused without it: a text that you change whenever
            their data changes, for equal inputs may be answered from a cache. Default: there are none.
    """
    from intermodal.components.retrieve_features.logic import retrieve_features

    retrieve_features(
        tables_path=tables.path,
        repository_path=repository.path,
        feature_service=feature_service,
        spine=spine,
        feature_store=feature_store,
        examples_path=examples.path,
        data_version=data_version,
    )
