"""Contract of `serve_model`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="serve", cached=False, changes="local-service")
def serve_model(
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    registration: dsl.Input[dsl.Artifact],
    deployments: str,
    service_name: str,
    serving: dict,
    deployment: dsl.Output[dsl.Artifact],
):
    """Serve a model with the KServe Python server on the machine the task runs on; the server outlives the task.

    The new server must answer, and answer right, before the old one of the same name is ended.

    Args:
        model: A SavedModel as `train_model` writes it; copied beside the deployment, which so outlives the run.
        evaluation: `smoke.json`: rows and the probabilities they must give.
        registration: As `register_model` writes it: the version that is served.
        deployments: Directory that keeps the record of deployments.
        service_name: The deployment's name; one server a name.
        serving: `port` (default 8080), `timeout` in seconds until it answers (default 60), `tolerance` of the smoke test (default 1e-4).
        deployment: A directory: `deployment.json` (URL, name, version, protocols, an example request and the response that came back).
    """
    from intermodal.components.serve_model.logic import serve_model

    serve_model(
        model_path=model.path,
        evaluation_path=evaluation.path,
        registration_path=registration.path,
        deployments=deployments,
        service_name=service_name,
        serving=serving,
        deployment_path=deployment.path,
    )
