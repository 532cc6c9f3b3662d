"""Contracts of `list_served` and `describe_upload`."""

from typing import NamedTuple

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="serve", cached=False)
def list_served(url: str, member: str, form: str, credentials: str = "google") -> list:
    """List the models that an endpoint runs, or that the model registry has, from the answer of Vertex AI's API.

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
