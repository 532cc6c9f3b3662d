"""Contract of `fetch_champion`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="track")
def fetch_champion(model_registry: str, model_name: str, version: str, model_sha256: str, champion: dsl.Output[dsl.Model]):
    """Bring the champion that `find_champion` found, with the schema and statistics of the data it was trained on.

    A version's files never change, so the task is cached: an unchanged champion is the same artifact in every run.

    Args:
        model_registry: MLflow tracking and registry URI.
        model_name: The registered model's name.
        version: The version to bring; empty: there is no champion yet.
        model_sha256: What its model must hash to.
        champion: A directory: `champion.json` (`version` and `model_sha256`, both null when there is no champion yet) and, when there is
            one, `model/` (SavedModel), `schema.pbtxt` and `statistics/` (one file a split).
    """
    from intermodal.components.fetch_champion.logic import fetch_champion

    fetch_champion(model_registry=model_registry, model_name=model_name, version=version, model_sha256=model_sha256, champion_path=champion.path)
