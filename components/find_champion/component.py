"""Contract of `find_champion`."""

from typing import NamedTuple

from intermodal.authoring.decorator import component


@component(image="track", cached=False)
def find_champion(name: str, registry: str) -> NamedTuple("Found", [("version", str), ("model_sha256", str), ("reference", str), ("judged", dict)]):  # type: ignore[valid-type]
    """Find the champion of a registered model: the version that has the alias `champion` in an MLflow registry.

    The outputs are values, so that tasks that take them are cached until the champion changes.

    Args:
        name: The registered model's name.
        registry: MLflow tracking and registry URI: `sqlite:////path/to/file.db`, or `http(s)://` of a server.
        version: The champion's version; `none` when there is no champion.
        model_sha256: SHA-256 of its model's files, as `register_model` computed it; empty without a champion, and for one registered by other means.
        reference: The version with the alias `reference`, see `promote_model`; `none` where there is none.
        judged: By window (the rows of an evaluation, as `evaluate_model` names them), the models that were judged on it: the first 12 digits of their
            hashes.
    """
    from intermodal.components.find_champion.logic import find_champion

    return find_champion(name=name, registry=registry)
