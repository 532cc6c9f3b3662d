"""Events that start a run: what happened, and the key that makes a second delivery of the same event harmless."""

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from intermodal.errors import ConfigurationError


@dataclass(frozen=True)
class Event:
    """Something that happened, in the words of CloudEvents 1.0.

    Attributes:
        id: Unique within `source`.
        source: Who says so.
        type: For instance ``google.cloud.storage.object.v1.finalized``.
        subject: What it happened to, for instance an object's name; may be empty.
        parameters: Pipeline parameters that the event carries; may be empty.
    """

    id: str
    source: str
    type: str
    subject: str
    parameters: dict[str, Any]

    @property
    def key(self) -> str:
        """The submission key: the same for every delivery of this event."""
        return "event-" + hashlib.sha256(f"{self.source}\0{self.id}".encode()).hexdigest()[:24]


def parse_event(text: str) -> Event:
    """Read an event.

    Args:
        text: JSON: a CloudEvent (structured mode), a Pub/Sub push body (``{"message": …}``) or a bare Pub/Sub message, whose data may itself be a
            CloudEvent, a Cloud Storage notification, or any object. An object's member ``parameters`` holds pipeline parameters.

    Raises:
        ConfigurationError: It is none of these, or carries no id.
    """
    body = _object(text, "the event")
    if "message" in body and isinstance(body["message"], dict):
        return _published(body["message"], str(body.get("subscription", "")))
    if "specversion" in body:
        return _cloud_event(body)
    if "messageId" in body or "message_id" in body:
        return _published(body, "")
    raise ConfigurationError(
        "the event is neither a CloudEvent (no `specversion`) nor a Pub/Sub message (no `messageId`); "
        f"its members are {', '.join(sorted(body)) or 'none'}"
    )


def _cloud_event(body: dict[str, Any]) -> Event:
    for member in ("id", "source", "type"):
        if not isinstance(body.get(member), str) or not body[member]:
            raise ConfigurationError(f"the CloudEvent has no {member!r}, which CloudEvents 1.0 requires; send it with one")
    data = body.get("data")
    if data is None and "data_base64" in body:
        data = _object(_decoded(body["data_base64"], "data_base64"), "data_base64")
    return Event(body["id"], body["source"], body["type"], str(body.get("subject", "")), _parameters(data))


def _published(message: dict[str, Any], source: str) -> Event:
    identifier = str(message.get("messageId") or message.get("message_id") or "")
    if not identifier:
        raise ConfigurationError("the Pub/Sub message has no `messageId`; send the message as Pub/Sub delivers it")
    attributes = message.get("attributes") or {}
    given = message.get("data") or {}
    # Cloud Build's bindings reach into the data ($(body.message.data.NAME)), so `$(body)` may hold it decoded.
    text = json.dumps(given) if isinstance(given, dict) else _decoded(given, "data")
    try:
        data = json.loads(text)
    except ValueError:
        data = {}
    if isinstance(data, dict) and "specversion" in data:
        return _cloud_event(data)
    subject = attributes.get("objectId", "")
    if subject:
        # One object generation is one event, however often the notification is published.
        identifier = f"{attributes.get('bucketId', '')}/{subject}#{attributes.get('objectGeneration', identifier)}"
        source = "storage"
    return Event(identifier, source or "pubsub", str(attributes.get("eventType", "message")), str(subject), _parameters(data))


def _parameters(data: Any) -> dict[str, Any]:
    found = data.get("parameters", {}) if isinstance(data, dict) else {}
    if not isinstance(found, dict):
        raise ConfigurationError(f"the event's `parameters` must be an object of parameter names and values, not {type(found).__name__}")
    return found


def _decoded(value: Any, where: str) -> str:
    try:
        return base64.b64decode(str(value), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the event's `{where}` is not base64 of UTF-8 text ({error})") from error


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{where} is not JSON ({error}); give a CloudEvent or a Pub/Sub message") from error
    if not isinstance(body, dict):
        raise ConfigurationError(f"{where} must be a JSON object, not {type(body).__name__}")
    return body
