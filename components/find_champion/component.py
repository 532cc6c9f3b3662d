"""Contract of `find_champion`."""

from typing import NamedTuple

from intermodal.authoring.decorator import component


@component(image="track", cached=False)
def find_champion(model_registry: str, model_name: str) -> NamedTuple("Champion", [("version", str), ("model_sha256", str)]):  # type: ignore[valid-type]
    """Ask a registry which version is the champion, and say so in values: tasks that take them run again only when they change.

    Args:
        model_registry: MLflow tracking and registry URI.
        model_name: The registered model's name.
        version: The champion's version; empty when there is none yet.
        model_sha256: The content of its model, as `register_model` hashed it; empty when there is none yet.
    """
    from intermodal.components.find_champion.logic import find_champion

    return find_champion(model_registry=model_registry, model_name=model_name)
