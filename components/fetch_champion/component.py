"""Contract of `fetch_champion`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="track", cached_with="version")
def fetch_champion(name: str, registry: str, champion: dsl.Output[dsl.Model], version: str = "", model_sha256: str = "", reference: str = ""):
    """Fetch the champion of a registered model from an MLflow registry, with the schema and statistics of the data it was trained on.

    Args:
        name: The registered model's name.
        registry: MLflow tracking and registry URI: `sqlite:////path/to/file.db`, or `http(s)://` of a server.
        champion: A directory: `champion.json` (`version` and `model_sha256`, both null without a champion) and, with a champion, `model/` and,
            where they were registered with it, `schema.pbtxt` and `statistics/` (one file a split); where the reference is another version, its model
            as `reference/`, and `reference_version`.
        version: The version to fetch, for instance what `find_champion` found; `none`: nothing is fetched. Default: the version that has the alias
            `champion` while the task runs; the result is then never cached.
        model_sha256: The SHA-256 that its model's files must have. Default: the one that `register_model` recorded, where it registered the version.
        reference: The version with the alias `reference`, see `promote_model`, for instance what `find_champion` found; empty or `none`: there is
            none.
    """
    from intermodal.components.fetch_champion.logic import fetch_champion

    found = fetch_champion(name=name, registry=registry, version=version, model_sha256=model_sha256, reference=reference, champion_path=champion.path)
    champion.metadata.update(found)
