"""Contract of `verify_endpoint`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="serve", cached=False)
def verify_endpoint(
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    registration: dsl.Input[dsl.Artifact],
    url: str,
    credentials: str,
    service_name: str,
    serving: dict,
    deployment: dsl.Output[dsl.Artifact],
):
    """Hold a service that was just deployed to the probabilities that the evaluation saw, asked over HTTP, and write down how to call it.

    Args:
        model: The SavedModel that is served.
        evaluation: `smoke.json`: rows and the probabilities they must give.
        registration: As `register_model` writes it: the version that is served.
        url: Where predictions are asked for: `{"instances": [...]}` is posted, `{"predictions": [...]}` comes back.
        credentials: `google`: Application Default Credentials give a bearer token; `none`: nothing is sent.
        service_name: The service's name.
        serving: `timeout` in seconds until it answers right (default 120), `tolerance` (default 1e-4).
        deployment: A directory: `deployment.json`, as `serve_model` writes it.
    """
    from intermodal.components.verify_endpoint.logic import verify_endpoint

    verify_endpoint(
        model_path=model.path,
        evaluation_path=evaluation.path,
        registration_path=registration.path,
        url=url,
        credentials=credentials,
        service_name=service_name,
        serving=serving,
        deployment_path=deployment.path,
    )
