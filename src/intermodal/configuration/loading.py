"""Reading a configuration: YAML to types, each error with its file, line and key."""

import difflib
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from intermodal.configuration.sections import Configuration
from intermodal.configuration.wiring import problems as problems_of
from intermodal.runtime.errors import ConfigurationError
from intermodal.runtime.safe_yaml import line_of, parse_documents, parse_value, read_text
from intermodal.runtime.secret_values import refuse_secrets

Kind = TypeVar("Kind", bound=Configuration)


@dataclass(frozen=True)
class Values:
    """What a configuration file says, before it has a type.

    Attributes:
        path: The file.
        content: Its mapping, overrides applied.
        tree: Its nodes, for the lines.
    """

    path: Path
    content: dict[str, Any]
    tree: yaml.Node | None

    def line(self, key: tuple[Any, ...]) -> int:
        """Return the line of a key, or of the nearest section around it, from 1."""
        return line_of(self.tree, list(key))


def read_values(path: Path, overrides: list[str] | None = None) -> Values:
    """Read a configuration file.

    Args:
        path: A YAML file.
        overrides: `section.key=value` texts, each value YAML, applied over the file.

    Raises:
        ConfigurationError: The file is missing, is not YAML, or is no mapping; or it holds a password.
    """
    documents = parse_documents(read_text(path, "`intermodal list` names the shipped configurations"), str(path))
    content, tree = (documents[0].value, documents[0].node) if len(documents) == 1 else (None, None)
    if len(documents) > 1:
        raise ConfigurationError(f"{path}: it has {len(documents)} documents, separated by `---`; a configuration is one")
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: expected a mapping of sections, found {type(content).__name__}; see pipelines/flights.yaml")
    for override in overrides or []:
        _override(content, override)
    if place := _nul(content):
        raise ConfigurationError(f"{path}, line {line_of(tree, place)}: {'.'.join(map(str, place))}: it has a NUL character; remove it")
    refuse_secrets(content, str(path))
    return Values(path, content, tree)


def fill_in(values: Values, kind: type[Configuration], known: dict[str, Any]) -> None:
    """Set keys that a file leaves open, in place, where the type has them.

    Args:
        values: See `read_values`.
        kind: The pipeline's configuration type.
        known: `section.key` to value: what a platform knows of itself.
    """
    for name, value in known.items():
        *sections, last = name.split(".")
        if last not in _fields(kind, sections) or not _exists(kind, sections):
            continue
        content = values.content
        for section in sections:
            below = content.setdefault(section, {})
            if not isinstance(below, dict):
                break  # refused in its own words
            content = below
        else:
            content.setdefault(last, value)


def missing_key(kind: type[BaseModel], key: str) -> tuple[str, list[str]] | None:
    """Return the part of a key with dots that a type does not have, and the keys that stand there; None: it has the key, or had it once."""
    if any(key == old or key.startswith(f"{old}.") for old in getattr(kind, "renamed", {})):
        return None
    section: type[BaseModel] | None = kind
    for part in key.split("."):
        if section is None:
            return None  # below are the user's own keys
        if part not in section.model_fields:
            return part, list(section.model_fields)
        section = _section(section.model_fields[part].annotation)
    return None


def _section(annotation: Any) -> type[BaseModel] | None:
    """Return the section that a type holds, alone, in a list or as one of several; None: it is a plain value."""
    candidates = [annotation, *getattr(annotation, "__args__", ())]
    return next((each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel)), None)


def _exists(kind: type[BaseModel], sections: list[str]) -> bool:
    return all(name in _fields(kind, sections[:number]) for number, name in enumerate(sections))


def validated(values: Values, kind: type[Kind]) -> Kind:
    """Return what a file says as a configuration of a type.

    Args:
        values: See `read_values`.
        kind: The pipeline's configuration type.

    Raises:
        ConfigurationError: A key is unknown, missing or renamed, or a value is wrong; the message names the line, the key, and the key that was
            probably meant.
    """
    if renamed := [(old, new) for old, new in kind.renamed.items() if _has(values.content, old.split("."))]:
        raise ConfigurationError("\n".join(f"{_where(values, tuple(old.split('.')))}: this key is now {new}; rename it" for old, new in renamed))
    context = {"base": values.path.parent}
    try:
        settings = kind.model_validate(values.content, context=context)
    except ValidationError as error:
        problems = [_in_words(values.path, values.tree, kind, problem) for problem in error.errors()]
        with suppress(ValidationError):  # what the components say of the rest, so that everything is said at once
            rest = kind.model_validate(_without(values.content, [problem["loc"] for problem in error.errors()]), context=context)
            problems += [f"{_where(values, key)}: {reason}" for key, reason in problems_of(rest)]
        raise ConfigurationError("\n".join(dict.fromkeys(problems))) from error
    if problems := [f"{_where(values, key)}: {reason}" for key, reason in problems_of(settings)]:
        raise ConfigurationError("\n".join(problems))
    return settings


def _where(values: Values, key: tuple[Any, ...]) -> str:
    return f"{values.path}, line {values.line(key)}: {'.'.join(map(str, key))}"


def _without(content: dict[str, Any], places: list[tuple[Any, ...]]) -> dict[str, Any]:
    """Return a copy of a mapping without some of its keys."""
    copy = deepcopy(content)
    for *parents, last in places:
        inner: Any = copy
        for part in parents:
            inner = inner.get(part) if isinstance(inner, dict) else None
        if isinstance(inner, dict):
            inner.pop(last, None)
    return copy


def _has(content: Any, key: list[str]) -> bool:
    for part in key:
        if not isinstance(content, dict) or part not in content:
            return False
        content = content[part]
    return True


def _override(values: dict[str, Any], override: str) -> None:
    key, found, text = override.partition("=")
    if not found:
        raise ConfigurationError(f"--set {override}: expected KEY=VALUE, for instance gate.minimum.auc=0.7")
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigurationError(f"--set {override}: {parent} is not a section")
    values[last] = parse_value(text, f"--set {key}")


def _nul(value: Any) -> list[Any] | None:
    """Return the place of a text with a NUL, which no file, database or process takes; None when there is none."""
    if isinstance(value, str):
        return [] if "\0" in value else None
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in entries:
        if "\0" in str(key):
            return [repr(key)]
        if (below := _nul(each)) is not None:
            return [key, *below]
    return None


def _in_words(path: Path, tree: yaml.Node | None, kind: type[BaseModel], problem: Any) -> str:
    location = [part for part in problem["loc"] if not (isinstance(part, str) and part.startswith(("Window", "function-", "constrained")))]
    where = f"{path}, line {line_of(tree, location)}: {'.'.join(map(str, location))}"
    if problem["type"] == "extra_forbidden":
        known = list(_fields(kind, location[:-1]))
        close = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"the keys here are {', '.join(known)}"
        return f"{where}: there is no such key; {hint}"
    if problem["type"] == "missing":
        return f"{where}: this key is required"
    if problem["type"] == "value_error":
        return f"{where}: {problem['msg'].removeprefix('Value error, ')}"
    return f"{where}: {problem['msg']}, not {problem['input']!r}"


def _fields(kind: type[BaseModel], location: list[Any]) -> dict[str, Any]:
    """Return the fields of the section at `location`, following sections and lists of them."""
    section = kind
    for part in location:
        if isinstance(part, int):
            continue
        section = (_section(section.model_fields[part].annotation) if part in section.model_fields else None) or section
    return section.model_fields
