"""Pages of the files that people write: every key of a configuration and of targets.toml, from the types that read them."""

import json
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from intermodal.authoring.catalog import component_names
from intermodal.authoring.pipeline import GROUP, find_pipeline
from intermodal.configuration.targets import targets_type
from intermodal.reference.markdown import notice, table

_WORDS = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "Path": "path", "dict": "object", "list": "list"}


def settings_pages() -> dict[str, str]:
    """Return the pages, file name to text."""
    configuration = (
        "# Configuration\n\nEvery key of a configuration file, by the pipeline that it names in `pipeline:`. A key that is not here is an error: it "
        "names the key that was probably meant. `--set section.key=value` overrides one.\n\n"
    )
    pipelines = [find_pipeline(each.name) for each in sorted(entry_points(group=GROUP), key=lambda each: each.name)]
    configuration += "\n\n".join(f"## {each.name}\n\n{_keys(each.configuration)}" for each in pipelines)
    targets = "# targets.toml\n\nEvery key of `targets.toml`. `targets.example.toml` is one to start from. No key holds a secret.\n\n"
    return {
        "configuration.md": notice("the configuration's types") + configuration + "\n",
        "targets.md": notice("the platforms' settings types") + targets + _keys(targets_type()) + "\n",
    }


def _keys(model: type[BaseModel]) -> str:
    return table(("Key", "Type", "Default", ""), _rows(model, ""))


def _rows(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        inner, step = _inner(field.annotation)
        if inner is None:
            yield f"`{key}`", _type(field.annotation), _default(field), field.description or ""
            continue
        summary = " ".join([field.description or (inner.__doc__ or "").strip().split("\n\n")[0], _owner(inner)]).strip()
        yield f"`{key}{step}`", "section" if not step else "sections", "*required*" if field.is_required() else "", summary
        yield from _rows(inner, f"{key}{step}.")


def _owner(section: type[BaseModel]) -> str:
    """Return whose parameters the keys of a section are, where they are those of a component or a function."""
    made_from = getattr(section, "made_from", None)
    if made_from is None:
        return ""
    function = getattr(made_from, "python_func", made_from)
    name = function.__name__
    return f"Parameters of [`{name}`](components/{name}.md)." if name in component_names() else f"Parameters of `{function.__module__}.{name}`."


def _inner(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """Return the section that a type holds, and how its key goes on: nothing, `[]` for a list, `.NAME` for names of the user's own."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    found = [_inner(each)[0] for each in get_args(annotation)]
    section = next((each for each in found if each is not None), None)
    origin = getattr(annotation, "__origin__", None)
    return section, "[]" if section and origin is list else ".NAME" if section and origin is dict else ""


def _type(annotation: Any) -> str:
    """Return a type as a person would say it."""
    if isinstance(annotation, type) and not get_args(annotation):
        return _WORDS.get(annotation.__name__, annotation.__name__)
    origin, arguments = getattr(annotation, "__origin__", None), get_args(annotation)
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return "object"
    if getattr(annotation, "__metadata__", None):
        return _type(arguments[0])
    named = [_type(each) if not isinstance(each, str) else f"`{each}`" for each in arguments if each is not type(None)]
    return " or ".join(dict.fromkeys(named)) or "any"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    value = field.default
    if value is PydanticUndefined or value is None:
        return ""
    return f"`{json.dumps(value, default=lambda each: str(each) if isinstance(each, Path) else each.model_dump())}`"
