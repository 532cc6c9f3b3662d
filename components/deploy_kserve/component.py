"""Contract of `deploy_kserve`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="serve", cached=False, changes="cluster")
def deploy_kserve(
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    registration: dsl.Input[dsl.Artifact],
    deployments: str,
    service_name: str,
    serving: dict,
    deployment: dsl.Output[dsl.Artifact],
):
    """Deploy a model as a KServe InferenceService: try it beside the service, and change the service only to what answered right.

    Args:
        model: A SavedModel as `train_model` writes it; its URI is what the InferenceService loads.
        evaluation: `smoke.json`: rows and the probabilities they must give.
        registration: As `register_model` writes it: the version that is deployed.
        deployments: The namespace.
        service_name: The InferenceService's name, 48 characters at most.
        serving: `image` of the predictor, `timeout` in seconds until its candidate, and then the service, is ready (default 600),
            `tolerance` of the smoke test (default 1e-4), `resources` (Kubernetes requests and limits), `service_account`,
            `minimum_replicas` and `maximum_replicas` (default: what the service has, or 1).
        deployment: A directory: `deployment.json`, as `serve_model` writes it.
    """
    from intermodal.components.deploy_kserve.logic import deploy_kserve

    deploy_kserve(
        model_path=model.path,
        model_uri=model.uri,
        evaluation_path=evaluation.path,
        registration_path=registration.path,
        namespace=deployments,
        service_name=service_name,
        serving=serving,
        deployment_path=deployment.path,
    )
