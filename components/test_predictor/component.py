"""Contract of `test_predictor`."""

from typing import NamedTuple

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="serve")
def test_predictor(
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    registration: dsl.Input[dsl.Artifact],
    service_name: str,
    serving: dict,
    known_models: list,
) -> NamedTuple(  # type: ignore[valid-type]
    "Service",
    [
        ("uri", str),
        ("labels", dict),
        ("parent_model", str),
        ("machine_type", str),
        ("minimum_replicas", int),
        ("maximum_replicas", int),
        ("service_account", str),
    ],
):
    """Prove that the predictor serves a model right before a managed service takes it over, and say what that service needs to know.

    Args:
        model: A SavedModel as `train_model` writes it.
        evaluation: `smoke.json`: rows and the probabilities they must give.
        registration: As `register_model` writes it: the version that is served.
        service_name: The service's name.
        serving: `timeout` in seconds until the predictor answers (default 60), `tolerance` (default 1e-4), and, handed on as they are,
            `parent_model` (default: the first of `known_models`), `machine_type` (default n1-standard-2), `minimum_replicas` (default 1),
            `maximum_replicas` (default: the minimum), `service_account` (default "").
        known_models: The managed models that this service has already; may be empty.
        uri: Where the model lies.
        labels: What to mark the model with: `model-version`, its version in the registry, and `service`, the service's name.
        parent_model: The managed model that gets a new version; empty: a new model.
        machine_type: The machine of a replica.
        minimum_replicas: How many there always are.
        maximum_replicas: How many there may be.
        service_account: The account that the predictor runs as; empty: the service's own.
    """
    from intermodal.components.test_predictor.logic import test_predictor

    return test_predictor(
        model_path=model.path,
        model_uri=model.uri,
        evaluation_path=evaluation.path,
        registration_path=registration.path,
        service_name=service_name,
        serving=serving,
        known_models=known_models,
    )
