"""The header that authorizes a request."""

import google.auth
import google.auth.transport.requests
from google.auth.exceptions import GoogleAuthError

from intermodal.runtime.errors import ConfigurationError, StoreError

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


def authorization(credentials: str) -> dict[str, str]:
    """Return the headers that authorize a request.

    Args:
        credentials: `google`: a bearer token of Application Default Credentials; `none`: no header.

    Raises:
        ConfigurationError: `credentials` is neither.
        StoreError: There are no credentials.
    """
    if credentials == "none":
        return {}
    if credentials != "google":
        raise ConfigurationError(f"credentials {credentials!r}: give google or none")
    try:
        found, _ = google.auth.default(scopes=[_SCOPE])
        found.refresh(google.auth.transport.requests.Request())  # type: ignore[no-untyped-call]
    except GoogleAuthError as error:
        remedy = "give the task a service account, or run gcloud auth application-default login"
        raise StoreError(f"no Application Default Credentials ({error}); {remedy}") from error
    return {"Authorization": f"Bearer {found.token}"}
