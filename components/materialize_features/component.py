"""Contract of `materialize_features`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="data", cached=False, changes="online-store")
def materialize_features(
    tables: dsl.Input[dsl.Dataset],
    repository: dsl.Input[dsl.Artifact],
    store: dict,
    materialization: dsl.Output[dsl.Artifact],
    service: str = "",
    filter_by_created_timestamp: bool = True,
):
    """Register a repository's Feast definitions and load the newest value of every feature into the online store.

    Args:
        tables: Feature sources: a directory of Parquet or CSV files, or of folders of them; each file or folder is the table of its name.
        repository: A directory of Feast definitions.
        store: Feast's own settings, as in feature_store.yaml: `registry` and `online_store` name the stores that outlive the run.
        materialization: `materialization.json`: each feature view with its rows and newest event time, and the stores' addresses.
        service: The feature service whose views are loaded. Empty: the only one of the repository.
        filter_by_created_timestamp: As in `retrieve_features`, so that what is served is what is joined: rows whose creation time is null are not
            loaded, in views whose source declares `created_timestamp_column`.
    """
    from intermodal.components.materialize_features.logic import materialize_features

    materialize_features(
        tables_path=tables.path,
        tables_uri=tables.uri,
        repository_path=repository.path,
        service=service,
        store=store,
        filter_by_created_timestamp=filter_by_created_timestamp,
        materialization_path=materialization.path,
    )
