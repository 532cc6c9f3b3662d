"""Events that start a run: what happened, which parameters it may set, and the key that makes a repeated delivery harmless."""

import base64
import binascii
import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from intermodal.runtime.errors import ConfigurationError, nearest


@dataclass(frozen=True)
class Event:
    """An event, in the terms of CloudEvents 1.0.

    Attributes:
        id: Unique within `source`.
        source: Where it comes from.
        type: For instance ``google.cloud.storage.object.v1.finalized``.
        subject: What it is about, for instance an object's name; may be empty.
        parameters: Pipeline parameters that the event carries; may be empty.
    """

    id: str
    source: str
    type: str
    subject: str
    parameters: dict[str, Any]

    def key(self, name: str) -> str:
        """Return the submission key: the same for every delivery of this event, but another for each name, so that one event can start several runs.

        Args:
            name: The configuration's `name`.
        """
        return "event-" + hashlib.sha256(f"{self.source}\0{self.id}\0{name}".encode()).hexdigest()[:24]


def parse_event(text: str) -> Event:
    """Read an event.

    Args:
        text: JSON: a CloudEvent (structured mode), a Pub/Sub push body (``{"message": …}``) or a bare Pub/Sub message, whose data may itself be a
            CloudEvent, a Cloud Storage notification, or any object. An object's member ``parameters`` holds pipeline parameters.

    Raises:
        ConfigurationError: It is none of these, or has no id.
    """
    body = _object(text, "the event")
    if "message" in body and isinstance(body["message"], dict):
        return _published(body["message"], _text(body, "subscription", "the Pub/Sub push"))
    if "specversion" in body:
        return _cloud_event(body)
    if "messageId" in body or "message_id" in body:
        return _published(body, "")
    raise ConfigurationError(
        "the event is neither a CloudEvent (no `specversion`) nor a Pub/Sub message (no `messageId`); "
        f"its members are {', '.join(repr(name[:40]) for name in sorted(body)[:8]) or 'none'}"
    )


def allowed_parameters(event: Event, allowed: Collection[str], where: str) -> dict[str, Any]:
    """Return the parameters that an event sets, if events may set them.

    People who may publish events need not be allowed to change code, and parameters choose the code that runs, the data, the gate's rules and the
    served image.

    Args:
        event: The event.
        allowed: Names of the parameters that events may set.
        where: The configuration's path, for the message; empty: there is none.

    Raises:
        ConfigurationError: It sets another parameter; the message names it and the remedy.
    """
    if refused := sorted(set(event.parameters) - set(allowed)):
        near = f" ({nearest(refused[0], allowed)})" if allowed else ""
        remedy = f"list it under events.parameters of {where}" if where else "give --configuration FILE, whose events.parameters lists it"
        raise ConfigurationError(
            f"the event sets the parameter{'s' if refused[1:] else ''} {', '.join(map(repr, refused))}, which events may not set{near}; "
            f"{remedy} if everybody who can publish such an event may set it, or send the event without it"
        )
    return event.parameters


def _cloud_event(body: dict[str, Any]) -> Event:
    for member in ("id", "source", "type"):
        if not _text(body, member, "the CloudEvent"):
            raise ConfigurationError(f"the CloudEvent has no {member!r}, which CloudEvents 1.0 requires; send it with one")
    data = body.get("data")
    if data is None and body.get("data_base64") is not None:
        data = _parsed(_decoded(body["data_base64"], "data_base64"), "data_base64")
    return Event(body["id"], body["source"], body["type"], _text(body, "subject", "the CloudEvent"), _parameters(data))


def _published(message: dict[str, Any], source: str) -> Event:
    identifier = _text(message, "messageId", "the Pub/Sub message") or _text(message, "message_id", "the Pub/Sub message")
    if not identifier:
        raise ConfigurationError("the Pub/Sub message has no `messageId`; send the message as Pub/Sub delivers it")
    attributes = message.get("attributes") or {}
    if not isinstance(attributes, dict):
        raise ConfigurationError(f"the Pub/Sub message's `attributes` must be an object of texts, not {type(attributes).__name__}")
    # Cloud Build's bindings reach into the data ($(body.message.data.NAME)), so `$(body)` may hold it decoded.
    data = message.get("data") or {}
    if not isinstance(data, dict):
        text = _decoded(data, "data")
        try:
            data = _parsed(text, "data")
        except _NotJsonError:
            if text.lstrip().startswith("{"):
                raise  # a broken object, with a NaN for instance: the run must not go on without its parameters
            data = {}  # a message of plain text
    if isinstance(data, dict) and "specversion" in data:
        return _cloud_event(data)
    names = ("objectId", "bucketId", "objectGeneration", "eventType")
    subject, bucket, generation, kind = (_text(attributes, name, "`attributes` of the Pub/Sub message") for name in names)
    if subject:
        # One object generation is one event, however often the notification is published.
        identifier = f"{bucket}/{subject}#{generation or identifier}"
        source = "storage"
    return Event(identifier, source or "pubsub", kind or "message", subject, _parameters(data))


def _text(of: dict[str, Any], member: str, where: str) -> str:
    """Return a member that is a text, or empty where it is absent or null."""
    value = of.get(member)
    if not isinstance(value, str | None):
        raise ConfigurationError(f"{where} has a {member!r} that is {type(value).__name__}; it must be a text")
    return value or ""


def _parameters(data: Any) -> dict[str, Any]:
    found = data.get("parameters", {}) if isinstance(data, dict) else {}
    if not isinstance(found, dict):
        raise ConfigurationError(f"the event's `parameters` must be an object of parameter names and values, not {type(found).__name__}")
    return found


def _decoded(value: Any, where: str) -> str:
    try:
        return base64.b64decode(str(value), validate=True).decode("utf-8")
    except (ValueError, binascii.Error) as error:  # a UnicodeError is a ValueError
        raise ConfigurationError(f"the event's `{where}` is not base64 of UTF-8 text ({error})") from error


class _NotJsonError(ConfigurationError):
    """A text is not JSON at all."""


def _parsed(text: str, where: str) -> Any:
    """Read JSON as in RFC 8259: no NaN, no infinity, and no text that UTF-8 cannot hold."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ConfigurationError(f"{where} is nested too deeply; give a CloudEvent or a Pub/Sub message") from None
    except ValueError as error:
        raise _NotJsonError(f"{where} is not JSON ({error}); give a CloudEvent or a Pub/Sub message") from error
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise ConfigurationError(f"{where} holds half of a character (a lone surrogate), which is not text; send it as UTF-8") from None
    except ValueError:
        raise ConfigurationError(f"{where} has a number beyond 1.8e308, which no parameter can take; send a smaller one") from None
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _object(text: str, where: str) -> dict[str, Any]:
    body = _parsed(text, where)
    if not isinstance(body, dict):
        raise ConfigurationError(f"{where} must be a JSON object, not {type(body).__name__}")
    return body
