"""The parts of a document that do not fit its proto: every unknown field and wrong type, with its place."""

from collections.abc import Iterator
from typing import Any

from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from intermodal.linting.document import Place
from intermodal.linting.finding import Complaint
from intermodal.runtime.errors import nearest

#: OverflowError: an integer beyond 1.8e308, which a proto's double cannot be.
UNPARSED = (json_format.ParseError, TypeError, ValueError, OverflowError, AttributeError, RecursionError)


def unparsed(value: Any, message: type[Message], place: Place, remedy: str) -> Iterator[Complaint]:
    """Yield what strict parsing refuses.

    `json_format.ParseDict` decides. It stops at the first problem and does not always say where that is, so when it refuses the whole, each field
    is parsed on its own.

    Args:
        value: The document, or a part of it.
        message: The class of the proto.
        place: Where the value is.
        remedy: The remedy where no similar name is known.
    """
    try:
        json_format.ParseDict(value, message())
    except UNPARSED as error:
        found = False
        for complaint in _fields(value, message.DESCRIPTOR, place, remedy):
            found = True
            yield complaint
        if not found:
            yield Complaint(place, _short(error), remedy)


def _fields(value: Any, descriptor: Descriptor, place: Place, remedy: str) -> Iterator[Complaint]:
    if not isinstance(value, dict):
        yield Complaint(place, f"there is {_kind(value)} where {descriptor.name} is expected", remedy)
        return
    known = {name: field for field in descriptor.fields for name in (field.name, field.json_name)}
    for choice in descriptor.oneofs:
        given = sorted({str(key) for key, each in value.items() if each is not None and key in known and known[key].containing_oneof is choice})
        if len(given) > 1:
            yield Complaint((*place, given[-1]), f"{descriptor.name} has {' and '.join(given)}, of which only one is allowed", "remove the others")
    for key, each in value.items():
        if key not in known:
            names = sorted(field.json_name for field in descriptor.fields)
            yield Complaint((*place, key), f"{descriptor.name} has no field {key!r}", nearest(str(key), names))
        elif each is not None:
            yield from _field(each, known[key], descriptor, (*place, key), remedy)


def _field(value: Any, field: FieldDescriptor, owner: Descriptor, place: Place, remedy: str) -> Iterator[Complaint]:
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry and isinstance(value, dict):
        target = inner.fields_by_name["value"].message_type
        if target is not None and not _well_known(target):
            for key, each in value.items():
                yield from _fields(each, target, (*place, key), remedy)
            return
    elif inner is not None and not _well_known(inner):
        if not field.is_repeated:
            yield from _fields(value, inner, place, remedy)
            return
        if isinstance(value, list):
            for index, each in enumerate(value):
                yield from _fields(each, inner, (*place, index), remedy)
            return
    try:
        json_format.ParseDict({field.json_name: value}, message_factory.GetMessageClass(owner)())
    except UNPARSED as error:
        yield Complaint(place, f"{field.json_name} is {_kind(value)}: {_short(error)}", remedy)


def _well_known(descriptor: Descriptor) -> bool:
    return str(descriptor.full_name).startswith("google.protobuf.")


def _kind(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"a {type(value).__name__}"


def _short(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")[:300]
