"""The models that a service runs, read from its own description."""

import json
import time
import urllib.error
import urllib.request
from typing import Any

from intermodal.components.verify_endpoint.authorization import authorization
from intermodal.runtime.errors import ConfigurationError, StoreError

_SECONDS = 30
_ATTEMPTS = 4
_PAUSE = 2.0


def list_served(*, url: str, credentials: str, member: str, form: str) -> list[str]:
    """Return the names of the models that a service runs. See the contract for the arguments.

    Raises:
        ConfigurationError: A key of `form` is in no model's object.
        StoreError: There are no credentials, or the description cannot be read.
    """
    models = _described(url, authorization(credentials)).get(member) or []
    try:
        return [form.format_map(each) for each in models]
    except KeyError as error:
        raise ConfigurationError(f"form {form!r}: a model at {url} has no key {error}; there are {', '.join(sorted(models[0]))}") from error


def _described(url: str, headers: dict[str, str]) -> dict[str, Any]:
    """Read the description; what may pass is tried again, for reading changes nothing."""
    request = urllib.request.Request(url, headers=headers)  # noqa: S310
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            if attempt == _ATTEMPTS or (error.code < 500 and error.code != 429):
                raise StoreError(f"{url} answers HTTP {error.code}: {error.read(2000).decode(errors='replace')}") from error
        except (OSError, ValueError) as error:
            if attempt == _ATTEMPTS:
                raise StoreError(f"{url} does not answer as a service describes itself: {error}") from error
        else:
            if not isinstance(found, dict):
                raise StoreError(f"{url} answers {type(found).__name__}, where an object describes a service")
            return found
        time.sleep(_PAUSE)
    raise AssertionError("unreachable")
