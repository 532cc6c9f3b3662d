"""A configuration as a pipeline takes it: parameters, arguments and channels; and what the components' own checks say of its values."""

import importlib
import inspect
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from intermodal.configuration.sections import (
    HOME,
    Configuration,
    Parameter,
    Place,
    PlatformSections,
    Section,
    how_located,
    inputs_of,
    name_of,
    parameter_of,
    section_of,
)
from intermodal.runtime.arguments import ArgumentError
from intermodal.runtime.safe_yaml import read_text


def pipeline_parameters(settings: Configuration, platform: str) -> list[Parameter]:
    """Return the pipeline's parameters on a platform, those without a default first."""
    top = [parameter_of(name, (name,), field) for name, field in type(settings).model_fields.items() if _shared(settings, name)]
    below = [each for key, kind, value in _parts(settings, platform).values() for each in kind.pipeline_parameters(key, value)]
    return sorted([*top, *below], key=lambda each: each.default is not inspect.Parameter.empty)


def pipeline_arguments(settings: Configuration, platform: str, place: Place, *, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return the pipeline's arguments.

    Args:
        settings: The configuration.
        platform: Where it runs.
        place: Resolves paths and `{home}`.
        without: Parameters that are given otherwise: nothing is staged for them.

    Raises:
        ConfigurationError: A file is not there, or a value names something of this machine that the platform cannot reach.
    """
    parts = _parts(settings, platform)
    made: dict[str, Any] = {}
    for each in pipeline_parameters(settings, platform):
        if each.name in without:
            continue
        *_, name = each.key
        part = parts[each.key[0]][2] if len(each.key) > 1 else None
        value = part.argument_of(name, settings) if part is not None else getattr(settings, name)
        field = type(part if part is not None else settings).model_fields.get(name)
        if value is not None:
            made[each.name] = _argument(value, field, place, ".".join(each.key))
    return made


def wired(settings: Configuration, platform: str, channels: dict[str, Any]) -> types.SimpleNamespace:
    """Return what a pipeline function gets as `settings`: a channel for each shared key, a mapping for each section, None for one left out."""
    made = types.SimpleNamespace(**{name: channels[name] for name in type(settings).model_fields if _shared(settings, name)})
    for name, (key, kind, value) in _parts(settings, platform).items():
        own = {each.key[-1]: _channel(each, channels) for each in kind.pipeline_parameters(key, value)}
        missing = {name for name, field in kind.model_fields.items() if name not in own and how_located(field)}
        setattr(made, name, Wires(own, missing | (set(own) - set(inputs_of(kind.made_from)) if kind.made_from else set())))
    for name in type(settings).model_fields:  # sections that were left out
        if name not in ("pipeline", "events") and not hasattr(made, name):
            setattr(made, name, None)
    return made


class Wires(dict[str, Any]):
    """A section as a pipeline function sees it: `**settings.gate` are the component's parameters, `settings.gate.KEY` is any key's channel.

    A key that may be left out and was (a folder) is None.
    """

    def __init__(self, channels: dict[str, Any], beside: set[str]) -> None:
        super().__init__({name: each for name, each in channels.items() if name not in beside})
        self._beside = {name: channels.get(name) for name in beside}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in self:
            return self[name]
        if name in self._beside:
            return self._beside[name]
        raise AttributeError(f"the section has no key {name!r}; it has {', '.join([*self, *self._beside]) or 'none'}")


def problems(settings: Configuration) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what the components say against the values: the key's place, and what is wrong."""
    shared = {name: getattr(settings, name) for name in type(settings).model_fields if _shared(settings, name)}
    sections = [((name,), getattr(settings, name)) for name in type(settings).model_fields if isinstance(getattr(settings, name), Section)]
    for key, value in sections:
        parts: list[tuple[tuple[str, ...], Any]] = [(key, value)]
        if isinstance(value, PlatformSections):
            parts = [((*key, name), getattr(value, name)) for name in type(value).model_fields]
        for place, part in parts:
            values = {name: _dumped(getattr(part, name)) for name in type(part).model_fields}
            beside = [getattr(settings, name) for name in type(part).takes_keys_of]
            others = {name: _dumped(getattr(each, name)) for each in beside for name in type(each).model_fields}
            found = _refused(type(part).made_from, place, values, others | shared)
            yield from (each for each in found if each[0][0] not in others)  # which the other section's own check refuses
    for component in settings.checked_by:
        yield from _refused(component, (), {}, shared)


def _parts(settings: Configuration, platform: str) -> dict[str, tuple[tuple[str, ...], type[Section], Any]]:
    """Return the sections by name: where each stands, its type and its values. Of a platform's sections the one of `platform`."""
    found: dict[str, tuple[tuple[str, ...], type[Section], Any]] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, PlatformSections):
            if isinstance(part := getattr(value, platform, None), Section):
                found[name] = ((name, platform), type(part), part)
            else:
                found[name] = ((name, platform), Section, Section())
        elif isinstance(value, Section):
            found[name] = ((name,), type(value), value)
    return found


def _channel(parameter: Parameter, channels: dict[str, Any]) -> Any:
    """Return a parameter's channel, or, among plain values, the default of one that was not given."""
    return channels[parameter.name] if parameter.name in channels or parameter.default is inspect.Parameter.empty else parameter.default


def _shared(settings: Configuration, name: str) -> bool:
    return name not in ("pipeline", "events") and section_of(type(settings).model_fields[name].annotation) is None


def _refused(component: Any, place: tuple[str, ...], values: dict[str, Any], shared: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what a component says against the values of its section at `place`, or against the keys at the top that it takes."""
    if (check := _check_of(component)) is None:
        return
    takes = inspect.signature(check).parameters
    given = {name: each for name, each in (shared | values).items() if name in takes and (each is not None or takes[name].default is None)}
    if missing := [name for name, each in takes.items() if each.default is inspect.Parameter.empty and name not in given]:
        if all(name in values for name in missing):  # a platform fills them in
            return
        raise TypeError(f"check_arguments of {name_of(component)}: no key gives {', '.join(missing)}; give it a default")
    try:
        check(**given)
    except ArgumentError as error:
        path = tuple(error.parameter.split("."))
        yield (path if path[0] not in values and path[0] in shared else (*place, *path)), error.reason


def _check_of(component: Any) -> Any:
    """Return `check_arguments` of the module `arguments` beside a component, or None where there is no such module."""
    if component is None:
        return None
    package = getattr(component, "python_func", component).__module__.rpartition(".")[0]
    if not package:
        return None
    try:
        return importlib.import_module(f"{package}.arguments").check_arguments
    except ModuleNotFoundError as error:
        if error.name != f"{package}.arguments":
            raise
        return None


def _argument(value: Any, field: FieldInfo | None, place: Place, key: str) -> Any:
    """Return a value as the pipeline takes it: files where tasks read them, of a `Path` its text, `{home}` replaced, of a model what was given."""
    if field is not None and value is not None and (located := how_located(field)):
        return located.located(value, place)
    if isinstance(value, BaseModel):
        given = {name: getattr(value, name) for name in type(value).model_fields if name in value.model_fields_set}
        return {name: _argument(each, type(value).model_fields[name], place, f"{key}.{name}") for name, each in given.items() if each is not None}
    if isinstance(value, dict):
        return {name: _argument(each, None, place, f"{key}.{name}") for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_argument(each, None, place, key) for each in value]
    if isinstance(value, Path):
        return read_text(place.base / value, f"correct {key}")
    if isinstance(value, str) and HOME in value:
        return value.replace(HOME, place.home(key))
    return value


def _dumped(value: Any) -> Any:
    if isinstance(value, list):
        return [_dumped(each) for each in value]
    return value.model_dump(exclude_unset=True, exclude_none=True) if isinstance(value, BaseModel) else value
