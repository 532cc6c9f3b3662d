"""Contract of `retrieve_features`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="data")
def retrieve_features(
    tables: dsl.Input[dsl.Dataset],
    repository: dsl.Input[dsl.Artifact],
    examples: dsl.Output[dsl.Dataset],
    service: str = "",
    spine: str = "examples",
    store: dict = {},
    data_version: str = "",
    filter_by_created_timestamp: bool = True,
):
    """Join to each labelled row the feature values that were known at its timestamp, with Feast.

    Args:
        tables: Feature sources and the spine: a directory of Parquet or CSV files, or of folders of them, whoever wrote it; each file or folder is
            the table of its name.
        repository: A directory of Feast definitions (`*.py`: entities, sources, feature views, feature services), whose relative file
            sources name tables: `sales.parquet` is the table `sales`, whatever its files.
        examples: A directory: `<part>/*.parquet`, the spine's rows in order with the features beside them; all rows in `train` when the
            spine has no column `split`.
        service: The feature service to retrieve. Empty: the only one of the repository.
        spine: The table whose rows are labelled: entity keys, `event_timestamp` (with a time zone), the label, any columns known with the
            request, and `split` where the data is split.
        store: Feast's own settings, as in feature_store.yaml, beside the defaults (an offline store that joins as of each timestamp, streaming).
        data_version: For sources outside `tables` (absolute paths, URIs, servers), which are refused without it: a text that you change whenever
            their data changes, for equal inputs may be answered from a cache. Empty: there are none.
        filter_by_created_timestamp: Whether rows created after a labelled row's timestamp are unknown to it, in views whose source declares
            `created_timestamp_column`; rows whose creation time is null always are. False, Feast's own default, lets late corrections leak.
    """
    from intermodal.components.retrieve_features.logic import retrieve_features

    retrieve_features(
        tables_path=tables.path,
        repository_path=repository.path,
        service=service,
        spine=spine,
        store=store,
        data_version=data_version,
        filter_by_created_timestamp=filter_by_created_timestamp,
        examples_path=examples.path,
    )
