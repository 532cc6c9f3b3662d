"""Contract of `list_served`."""

from intermodal.authoring.decorator import component


@component(image="serve", cached=False)
def list_served(url: str, credentials: str, member: str, form: str) -> list:
    """List the models that a service runs right now, or that a registry of services has, as it describes itself over HTTP.

    Args:
        url: Where the description is: a JSON object.
        credentials: `google`: Application Default Credentials give a bearer token; `none`: nothing is sent.
        member: The key in it that has one object for each model; where the key is missing, there is no model.
        form: What a model is called, from the keys of its object in braces.

    Returns:
        The models' names.
    """
    from intermodal.components.list_served.logic import list_served

    return list_served(url=url, credentials=credentials, member=member, form=form)
