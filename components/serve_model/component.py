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
    strategy: str = "direct",
    weights: list = [5, 25, 50, 100],
    header: str = "",
    bake: float = 60.0,
    deadline: float = 900.0,
    keep_previous: bool = True,
    minimum_requests: int = 100,
    warm_up: float = 20.0,
    tolerated: dict = {},
    harm: dict = {},
    false_alarm: float = 0.05,
    missed: float = 0.05,
):
    """Serve a model with the KServe Python server on the machine the task runs on; the server outlives the task.

    The new server must answer, and answer right, before it gets a request. With another strategy than `direct` it then gets a share of the requests,
    or copies of them, and is judged beside what serves before it gets them all; a worse one gets none any more, and the task fails.

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
        strategy: `direct`: all requests at once. `canary`: a share that rises. `blue-green`: all, with the way back open until it is judged.
            `shadow`: copies, whose answers are compared and not returned. `ab`: the requests with `header`, until `intermodal rollout promote` or
            `roll-back`. The first model of a service gets all requests at once.
        weights: `canary`: the shares in per cent, which rise to 100.
        header: `ab`: `NAME: VALUE`.
        bake: Seconds that each share lasts at least.
        deadline: Seconds until a share whose judge has too little data is rolled back.
        keep_previous: Whether the model before stays loaded after the promotion, for `intermodal rollout roll-back`.
        minimum_requests: What the new model must have answered at each share.
        warm_up: Seconds at the beginning of each share that are not judged.
        tolerated: Metric (errors, p50, p95, p99, predictions, disagreement) to how much worse is never a reason to roll back. Errors, predictions
            and disagreement are differences of shares, p50 to p99 ratios. Default of each: .001, 1.05, 1.05, 1.1, .1, .05.
        harm: Metric to what the new model must be shown not to be worse by. Default: errors .01, p95 1.3, predictions .25, disagreement .1.
        false_alarm: Chance that a rollout takes back a model within what is tolerated, over all metrics, shares and looks.
        missed: Chance that one share lets a model pass that does harm.
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
            strategy=strategy,
            weights=weights,
            header=header,
            bake=bake,
            deadline=deadline,
            keep_previous=keep_previous,
            minimum_requests=minimum_requests,
            warm_up=warm_up,
            tolerated=tolerated,
            harm=harm,
            false_alarm=false_alarm,
            missed=missed,
            deployment_path=deployment.path,
        )
    )
