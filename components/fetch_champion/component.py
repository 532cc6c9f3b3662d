"""Contract of `fetch_champion`."""

from kfp import dsl

from intermodal.component import component


@component(image="track", cached=False)
def fetch_champion(model_registry: str, model_name: str, champion: dsl.Output[dsl.Model]):
    """Bring the model that a registry calls champion, with the schema and statistics of the data it was trained on.

    Args:
        model_registry: MLflow tracking and registry URI.
        model_name: The registered model's name.
        champion: A directory: `champion.json` (`version`, null when there is no champion yet; `run_id`; `registered_at`) and, when there is
            one, `model/` (SavedModel), `schema.pbtxt` and `statistics/` (one file a split).
    """
    from intermodal.components.fetch_champion.logic import fetch_champion

    fetch_champion(model_registry=model_registry, model_name=model_name, champion_path=champion.path)
