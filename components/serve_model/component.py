"""Contract of `serve_model`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="serve", cached=False, changes="local-service")
def serve_model(
    model: dsl.Input[dsl.Model],
    name: str,
    deployment: dsl.Output[dsl.Artifact],
    evaluation: dsl.Input[dsl.Artifact] = None,
    registration: dsl.Input[dsl.Artifact] = None,
    port: int = 8080,
    timeout: float = 60.0,
    tolerance: float = 1e-4,
    deployments: str = "~/.intermodal/deployments",
    version: str = "",
):
    """Serve a model with the KServe Python server on the machine the task runs on; the server outlives the task.

    The new server must answer, and answer right, before the old one of the same name is ended.

    Args:
        model: A SavedModel or a Keras file, with or without `signature.json`; a copy beside the record of the deployment is served.
        name: The deployment's name; one server a name.
        deployment: A directory: `deployment.json` (URL, name, version, protocols, what was tested, a request and its response); metadata: `url`,
            `name`, `version`, `tested`.
        evaluation: A directory with `smoke.json`: rows, and the probabilities that they must give. Without it the server must be ready, and answer an
            example where the model's inputs allow one.
        registration: A directory with `registration.json`, as `register_model` writes it: the version that is served.
        port: The port that clients use, on 127.0.0.1.
        timeout: Seconds until the new server must be ready.
        tolerance: How far a served probability may be from the expected one.
        deployments: Directory that keeps the records of deployments; `~` is the home directory.
        version: The version that is served. Default: that of `registration`.
    """
    from intermodal.components.serve_model.logic import serve_model

    deployment.metadata.update(
        serve_model(
            model_path=model.path,
            name=name,
            evaluation_path=evaluation.path if evaluation else None,
            registration_path=registration.path if registration else None,
            port=port,
            timeout=timeout,
            tolerance=tolerance,
            deployments=deployments,
            version=version,
            deployment_path=deployment.path,
        )
    )
