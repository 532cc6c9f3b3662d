"""Contract of `deploy_kserve`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="serve", cached=False, changes="cluster")
def deploy_kserve(
    model: dsl.Input[dsl.Model],
    name: str,
    deployment: dsl.Output[dsl.Artifact],
    namespace: str = "",
    evaluation: dsl.Input[dsl.Artifact] = None,
    registration: dsl.Input[dsl.Artifact] = None,
    model_format: str = "",
    protocol: str = "",
    runtime: str = "",
    image: str = "",
    timeout: float = 600.0,
    tolerance: float = 1e-4,
    resources: dict = {},
    service_account: str = "",
    minimum_replicas: int = 0,
    maximum_replicas: int = 0,
    port: int = 8080,
    version: str = "",
):
    """Deploy a model as a KServe InferenceService: try it beside the service, and change the service only to what answered right.

    Args:
        model: A model; its URI is what the InferenceService loads.
        name: The InferenceService's name, 48 characters at most.
        deployment: A directory: `deployment.json`, as `serve_model` writes it; metadata: `url`, `name`, `version`, `tested`.
        namespace: The namespace. Default: the task's own.
        evaluation: A directory with `smoke.json`: rows, and the probabilities that they must give. Without it the pods must be ready, and answer an
            example where the model's inputs allow one.
        registration: A directory with `registration.json`, as `register_model` writes it: the version that is deployed.
        model_format: A format that a ServingRuntime of the cluster serves, by KServe's name (sklearn, xgboost, lightgbm, tensorflow, onnx, pytorch,
            triton, huggingface, mlflow, ...), or `predictor`: our predictor, for SavedModels and Keras files. Default: by the model's files.
        protocol: `v1` or `v2`: what the runtime of `model_format` speaks. Default: v2 for mlflow, onnx, tensorrt and triton, else v1.
        runtime: The ServingRuntime. Default: the cluster's choice for the format.
        image: The predictor's image. Default: the one that the task itself runs in.
        timeout: Seconds until the candidate, and then the service, is ready.
        tolerance: How far a served probability may be from the expected one.
        resources: Kubernetes requests and limits of the server. Default: the cluster's, or the runtime's.
        service_account: The account that the pods run as, which may read the model. Default: the namespace's.
        minimum_replicas: How many pods there always are. Default: what the service has, or 1.
        maximum_replicas: How many there may be. Default: what the service has, or the cluster's.
        port: The predictor's port in its pod.
        version: The version that is deployed. Default: that of `registration`.
    """
    from intermodal.components.deploy_kserve.logic import deploy_kserve

    deployment.metadata.update(
        deploy_kserve(
            model_path=model.path,
            model_uri=model.uri,
            name=name,
            namespace=namespace,
            evaluation_path=evaluation.path if evaluation else None,
            registration_path=registration.path if registration else None,
            model_format=model_format,
            protocol=protocol,
            runtime=runtime,
            image=image,
            timeout=timeout,
            tolerance=tolerance,
            resources=resources,
            service_account=service_account,
            minimum_replicas=minimum_replicas,
            maximum_replicas=maximum_replicas,
            port=port,
            version=version,
            deployment_path=deployment.path,
        )
    )
