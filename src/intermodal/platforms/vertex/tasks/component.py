"""Contracts of `describe_endpoint`, `list_served`, `describe_upload` and `verify_deployment`."""

from typing import NamedTuple

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="serve", cached=False)
def describe_endpoint(url: str, credentials: str = "google") -> NamedTuple("Endpoint", [("models", list), ("traffic", dict)]):  # type: ignore[valid-type]
    """Say what an endpoint runs, from the answer of Vertex AI's API.

    Args:
        url: The endpoint's address: `https://…/endpoints/ID`.
        credentials: `google`: a bearer token of Application Default Credentials is sent; `none`: nothing is.
        models: The models that it runs: `MODEL@VERSION`.
        traffic: Its traffic split: the id of a deployed model to its share, in percent; empty where it serves nothing.
    """
    from intermodal.platforms.vertex.tasks.logic import describe_endpoint

    return describe_endpoint(url=url, credentials=credentials)


@component(image="serve", cached=False)
def list_served(url: str, member: str, form: str, credentials: str = "google") -> list:
    """List the models that the model registry has, from the answer of Vertex AI's API.

    Args:
        url: What is asked with GET; the answer is a JSON object.
        member: The key in it that has one object for each model; where the key is missing, there is no model.
        form: What a model is called, from the keys of its object in braces.
        credentials: `google`: a bearer token of Application Default Credentials is sent; `none`: nothing is.

    Returns:
        The models' names.
    """
    from intermodal.platforms.vertex.tasks.logic import list_served

    return list_served(url=url, member=member, form=form, credentials=credentials)


@component(image="serve", cached=False)
def describe_upload(
    model: dsl.Input[dsl.Model],
    registration: dsl.Input[dsl.Artifact],
    name: str,
    parent_model: str,
    known_models: list,
    minimum_replicas: int,
    maximum_replicas: int,
) -> NamedTuple("Upload", [("uri", str), ("labels", dict), ("parent_model", str), ("maximum_replicas", int)]):  # type: ignore[valid-type]
    """Say how a model is uploaded and deployed: what follows from other tasks' outputs, which the managed steps cannot compute.

    Args:
        model: The model.
        registration: As `register_model` writes it: the version that is deployed.
        name: The service's name.
        parent_model: The model of Vertex AI's registry that gets a new version; empty: the first of `known_models`, or none.
        known_models: The models of Vertex AI's registry that are labelled with the service's name.
        minimum_replicas: How many replicas there always are.
        maximum_replicas: How many there may be; 0: as many as there always are.
        uri: Where the model lies.
        labels: `service`: the service's name; `model-version`: the registered version, with the characters that a label takes.
        parent_model: The model that gets a new version; empty: a new model.
        maximum_replicas: How many replicas there may be.
    """
    from intermodal.platforms.vertex.tasks.logic import describe_upload

    return describe_upload(
        model_uri=model.uri,
        registration_path=registration.path,
        name=name,
        parent_model=parent_model,
        known_models=known_models,
        minimum_replicas=minimum_replicas,
        maximum_replicas=maximum_replicas,
    )


@component(image="serve", cached=False, changes="endpoint")
def verify_deployment(
    url: str,
    uploaded: dsl.Input[dsl.Artifact],
    evaluation: dsl.Input[dsl.Artifact],
    deployment: dsl.Output[dsl.Artifact],
    model: dsl.Input[dsl.Model],
    registration: dsl.Input[dsl.Artifact],
    name: str,
    traffic_before: dict,
    timeout: float,
    tolerance: float,
    credentials: str = "google",
):
    """Check that an endpoint returns the expected probabilities with a model just deployed; else give its traffic back and take the model off.

    Args:
        url: The endpoint's address: `https://…/endpoints/ID`.
        uploaded: The model that was deployed on it, as Google's `model_upload` gives it.
        evaluation: A directory with `smoke.json`: rows, and the probabilities that they must give.
        deployment: As `verify_endpoint` writes it.
        model: The model as a directory; rows that lack what its `signature.json` requires are not sent.
        registration: As `register_model` writes it: the version that is deployed.
        name: What the deployment is called in the output.
        traffic_before: As `describe_endpoint` gave it before the deployment.
        timeout: Seconds until the endpoint must answer right.
        tolerance: How far a served probability may be from the expected one.
        credentials: `google`: a bearer token of Application Default Credentials is sent; `none`: nothing is.
    """
    from intermodal.platforms.vertex.tasks.logic import verify_deployment

    deployment.metadata.update(
        verify_deployment(
            url=url,
            uploaded_model=uploaded.metadata["resourceName"],
            evaluation_path=evaluation.path,
            model_path=model.path,
            registration_path=registration.path,
            name=name,
            traffic_before=traffic_before,
            timeout=timeout,
            tolerance=tolerance,
            credentials=credentials,
            deployment_path=deployment.path,
        )
    )
