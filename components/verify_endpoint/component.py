"""Contract of `verify_endpoint`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="serve", cached=False)
def verify_endpoint(
    url: str,
    evaluation: dsl.Input[dsl.Artifact],
    deployment: dsl.Output[dsl.Artifact],
    model: dsl.Input[dsl.Model] = None,
    registration: dsl.Input[dsl.Artifact] = None,
    name: str = "model",
    credentials: str = "none",
    timeout: float = 120.0,
    tolerance: float = 1e-4,
    version: str = "",
):
    """Check that an endpoint returns the expected probabilities, asked over HTTP, and write down how to call it.

    Args:
        url: Where predictions are asked for: `{"instances": [...]}` is posted, `{"predictions": [...]}` comes back.
        evaluation: A directory with `smoke.json`: rows, and the probabilities that they must give.
        deployment: A directory: `deployment.json`, as `serve_model` writes it; metadata: `url`, `name`, `version`, `tested`.
        model: The model that is served; where it has `signature.json`, rows that lack what the model requires are not sent.
        registration: A directory with `registration.json`, as `register_model` writes it: the version that is served.
        name: What the deployment is called in the output.
        credentials: `google`: a bearer token of Application Default Credentials is sent; `none`: nothing is.
        timeout: Seconds until the endpoint must answer right.
        tolerance: How far a served probability may be from the expected one.
        version: The version that is served. Default: that of `registration`.
    """
    from intermodal.components.verify_endpoint.logic import verify_endpoint

    deployment.metadata.update(
        verify_endpoint(
            url=url,
            evaluation_path=evaluation.path,
            model_path=model.path if model else None,
            registration_path=registration.path if registration else None,
            name=name,
            credentials=credentials,
            timeout=timeout,
            tolerance=tolerance,
            version=version,
            deployment_path=deployment.path,
        )
    )
