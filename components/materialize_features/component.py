"""Contract of `materialize_features`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="data", cached=False, changes="online-store")
def materialize_features(
    tables: dsl.Input[dsl.Dataset],
    repository: dsl.Input[dsl.Artifact],
    feature_service: str,
    feature_store: dict,
    materialization: dsl.Output[dsl.Artifact],
):
    """Register a repository's Feast definitions and load the newest value of every feature into the online store.

    Args:
        tables: Feature sources, as `transform_tables` writes them.
        repository: A directory of Feast definitions.
        feature_service: The feature service whose views are loaded.
        feature_store: Feast's own settings, as in feature_store.yaml: `registry` and `online_store` name the stores that outlive the run.
        materialization: `materialization.json`: each feature view with its rows and newest event time, and the stores' addresses.
    """
    from intermodal.components.materialize_features.logic import materialize_features

    materialize_features(
        tables_path=tables.path,
        tables_uri=tables.uri,
        repository_path=repository.path,
        feature_service=feature_service,
        feature_store=feature_store,
        materialization_path=materialization.path,
    )
