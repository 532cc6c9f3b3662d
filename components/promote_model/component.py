"""Contract of `promote_model`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="track", cached=False, changes="model-registry")
def promote_model(
    registration: dsl.Input[dsl.Artifact],
    registry: str,
    promotion: dsl.Output[dsl.Artifact],
    deployment: dsl.Input[dsl.Artifact] = None,
):
    """Make a registered version the champion: move the alias `champion` in an MLflow registry to it, unless a gate did not pass it.

    The alias `reference` moves with it to a version that its gate showed to be better than the reference, and to the first: later models are compared
    with it too, so that many small losses do not add up.

    Args:
        registration: As `register_model` writes it. With a `decision.json` in it, the alias moves when the verdict is `passed` and the champion is
            still the one that the gate compared with; without one it moves whatever the champion is.
        registry: MLflow tracking and registry URI: `sqlite:////path/to/file.db`, or `http(s)://` of a server.
        promotion: A directory: `promotion.json` (`name`, `version`, whether that is the `champion`, `previous_champion`, `registry`, the `outcome` in
            words); metadata: `name`, `version`, `champion`.
        deployment: Of whatever brings the version to serve: the alias moves after that task. The version in its `deployment.json`, where there is
            one, must be the registered one.
    """
    from intermodal.components.promote_model.logic import promote_model

    promotion.metadata.update(
        promote_model(
            registration_path=registration.path,
            deployment_path=deployment.path if deployment else None,
            registry=registry,
            promotion_path=promotion.path,
        )
    )
