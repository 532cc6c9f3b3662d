"""What a configuration is made of: sections that take names, types, defaults and descriptions from a component's signature.

A key of the YAML is one parameter from there on: `gate.confidence` is the pipeline's parameter `gate_confidence` is `gate_model(confidence=…)`.
"""

import inspect
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Optional, Union, cast, get_args, get_origin

from docstring_parser import parse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, create_model
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from intermodal.authoring.platform import platforms
from intermodal.configuration.sources import resolve_source
from intermodal.runtime.errors import IntermodalError
from intermodal.runtime.safe_yaml import parse_documents, read_text
from intermodal.runtime.tree import split_glob

HOME = "{home}"
_PLAIN = (str, int, float, bool, list, dict)

#: What a run, its job, its labels and the service are called.
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,52}$", description="Lowercase letters, digits and hyphens, 53 at most")]


@dataclass(frozen=True)
class Place:
    """Where a run takes place, for the values that depend on it.

    Attributes:
        base: The folder that relative paths in the configuration start from.
        folder: Takes a file or folder of this machine to where tasks read it, and returns its URI.
        source: The same for a data file, or a folder and a pattern of files in it.
        home: Returns what `{home}` stands for; takes the key that asks.
    """

    base: Path
    folder: Callable[[Path], str]
    source: Callable[[Path, str], str]
    home: Callable[[str], str]


@dataclass(frozen=True)
class _Folder:
    def located(self, value: Any, place: Place) -> str:
        return place.folder((place.base / value).resolve())


def _read_mapping(value: Any, info: ValidationInfo) -> Any:
    """Return what a file holds in the place of its name; `context` has the folder that names start from."""
    if not isinstance(value, str):
        return value
    path = Path((info.context or {}).get("base", ""), value)
    try:
        documents = parse_documents(read_text(path, "write a mapping, or the name of a YAML file that holds one"), str(path))
    except IntermodalError as error:
        raise ValueError(str(error)) from error
    if len(documents) != 1 or not isinstance(documents[0].value, dict):
        raise ValueError(f"{path} holds no mapping; write one, with names and what they are")
    return documents[0].value


@dataclass(frozen=True)
class _Source:
    def located(self, value: Any, place: Place) -> str:
        uri = resolve_source(str(value), place.base)
        return uri if "://" in uri else place.source(*split_glob(Path(uri)))


#: A file or folder of code, relative to the configuration, that is brought to where tasks can read it: an artifact's URI.
Folder = Annotated[Path, _Folder()]
#: A mapping, or the name of a YAML or JSON file that holds it, relative to the configuration.
MappingOrFile = Annotated[dict[str, Any], BeforeValidator(_read_mapping)]
#: A file, glob or directory of data: relative to the configuration, package:NAME/PATH, gs:// or s3://.
SourceUri = Annotated[str, _Source()]


@dataclass(frozen=True)
class Parameter:
    """A parameter of a pipeline.

    Attributes:
        name: As the compiled file has it.
        key: Where the configuration has it.
        annotation: str, int, float, bool, list, dict, or one of these that may be left out.
        default: `inspect.Parameter.empty` where there is none.
        description: In words.
    """

    name: str
    key: tuple[str, ...]
    annotation: Any
    default: Any
    description: str


class Section(BaseModel):
    """A part of a configuration. Each key is a parameter of the pipeline, unless `passed_as` says otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, protected_namespaces=())

    #: The component whose signature the section was made from; keys that a class derived from it adds are not passed to it.
    made_from: ClassVar[Any] = None
    #: Parameters that the whole section makes, where they are not its keys: name to type; `argument_of` returns their values.
    passed_as: ClassVar[dict[str, Any]] = {}
    #: Other sections whose keys the component takes too; its own check gets them.
    takes_keys_of: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def pipeline_parameters(cls, key: tuple[str, ...], given: Any = None) -> Iterator[Parameter]:
        """Yield the pipeline parameters that a section stands for.

        Args:
            key: Where the configuration has the section.
            given: Its values: a folder that may be left out and was is no parameter.
        """
        prefix = "_".join(key)
        if cls.passed_as:
            yield from (Parameter(f"{prefix}_{name}", (*key, name), kind, inspect.Parameter.empty, "") for name, kind in cls.passed_as.items())
            return
        for name, field in cls.model_fields.items():
            if not _left_out(field, getattr(given, name, None)):
                yield parameter_of(f"{prefix}_{name}", (*key, name), field)

    def argument_of(self, name: str, whole: Any) -> Any:
        """Return what a parameter of this section gets, before paths are resolved.

        Args:
            name: The parameter's, within the section.
            whole: The configuration that the section is part of.
        """
        return getattr(self, name)


def section(component: Any, *, without: tuple[str, ...] = (), **fields: Any) -> Any:
    """Return the section of a configuration that belongs to a component.

    In the body of a configuration type ``gate = section(gate_model, without=("seed",))`` is all; elsewhere it is a class to derive from.

    Args:
        component: A component, or a function whose plain parameters (texts, numbers, lists, mappings) become keys.
        without: Parameters that the pipeline fills in by itself, or takes from a key at the top.
        fields: Types that are narrower than the signature's, by key; with a default: a pair of both.

    Returns:
        A pydantic model: names, types, defaults and descriptions are the signature's; other keys are refused.
    """
    known = {name: each for name, each in inputs_of(component).items() if name not in without}
    if unknown := set(fields) - set(known):
        raise TypeError(f"{name_of(component)} has no parameter {', '.join(sorted(unknown))}; derive from the section to add keys")
    made: dict[str, Any] = {}
    for name, (annotation, default, description) in known.items():
        narrowed = fields.get(name, annotation)
        annotation, default = narrowed if isinstance(narrowed, tuple) else (narrowed, default)
        made[name] = (annotation, Field(PydanticUndefined if default is inspect.Parameter.empty else default, description=description))
    model = create_model(name_of(component), __base__=Section, __module__=__name__, **made)
    model.made_from = component
    return model


def section_of(annotation: Any) -> type[Section] | None:
    """Return the section that a key's type is, or may be where it can be left out; None: the key is a value."""
    candidates = [annotation, *get_args(annotation)] if get_origin(annotation) in (Union, types.UnionType) else [annotation]
    return next((each for each in candidates if isinstance(each, type) and issubclass(each, Section)), None)


def given_at_submission(description: str) -> Any:
    """Return a field that a configuration may leave open: the parameter is required where the pipeline starts."""
    return Field(None, description=description, validate_default=False, json_schema_extra={"given_at_submission": True})


def deploy_sections(*, without: tuple[str, ...] = ()) -> Any:
    """Return a section with a part for each installed platform that serves models: the parameters of its deploy step.

    Of these only the part of the platform that is compiled for becomes parameters. Keys that are required may be left out, for a platform may fill
    them in; a submission checks them.

    Args:
        without: Parameters that the pipeline fills in by itself.
    """
    parts: dict[str, Any] = {}
    for name, each in platforms().items():
        if each.deploy is not None:
            made = _partial(section(each.deploy, without=without, **each.deploy_fields))
            parts[name] = (made, Field(default_factory=made))
    return create_model("Platforms", __base__=PlatformSections, __module__=__name__, **parts)


class PlatformSections(Section):
    """A section with a part for each platform."""


class Events(BaseModel):
    """What an event that starts a run may decide."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    parameters: list[str] = Field([], description="Pipeline parameters that an event may set; whoever may publish the event then decides them")


if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass as _Metaclass
else:
    _Metaclass = type(BaseModel)


class _Types(_Metaclass):
    """Lets ``gate = section(gate_model)`` stand in a configuration's body: the section is the type, and its defaults are the default."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> Any:
        annotations = namespace.setdefault("__annotations__", {})
        for key, value in list(namespace.items()):
            if isinstance(value, type) and issubclass(value, Section) and not key.startswith("_") and key not in annotations:
                annotations[key] = value
                optional = all(not field.is_required() for field in value.model_fields.values())
                namespace[key] = Field(default_factory=value) if optional else Field()
        return super().__new__(mcs, name, bases, namespace, **options)


class Configuration(BaseModel, metaclass=_Types):
    """A pipeline's whole configuration. Keys at the top are shared by sections: each is a parameter of its own name."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, protected_namespaces=())

    #: Keys that were renamed: old to new, both with dots.
    renamed: ClassVar[dict[str, str]] = {}
    #: Components without a section whose `check_arguments` takes nothing but keys at the top.
    checked_by: ClassVar[tuple[Any, ...]] = ()

    pipeline: str = Field("training", description="An entry's name, module:attribute, or file.py:attribute relative to this file")
    name: Name = Field(description="Names runs, jobs, the registered model and the service")
    events: Events = Events()


def inputs_of(component: Any) -> dict[str, tuple[Any, Any, str]]:
    """Return the plain parameters of a component or function: type, default and description by name."""
    function = getattr(component, "python_func", component)
    described = {each.arg_name: each.description or "" for each in parse(function.__doc__ or "").params}
    signature = inspect.signature(function)
    return {
        name: (each.annotation, each.default, described.get(name, ""))
        for name, each in signature.parameters.items()
        if _plain(each.annotation) is not None
    }


def name_of(component: Any) -> str:
    """Return the name of a component or a function."""
    return str(getattr(getattr(component, "python_func", component), "__name__", component))


def _plain(annotation: Any) -> Any:
    """Return what of kfp's parameter types an annotation is, Optional where it may be left out; None: it is no parameter."""
    if isinstance(annotation, type) and issubclass(annotation, _PLAIN):
        return next(each for each in (bool, int, float, str, list, dict) if issubclass(annotation, each))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return dict
    if isinstance(annotation, type) and issubclass(annotation, Path):
        return str
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _plain(arguments[0])  # an artifact's type is none of the plain ones
    if origin is Literal:
        return _plain(type(arguments[0]))
    if origin in (Union, types.UnionType):
        kinds = {_plain(each) for each in arguments if each is not type(None)}
        kind = next(iter(kinds)) if len(kinds) == 1 else None
        return Optional[kind] if kind is not None and type(None) in arguments else kind  # noqa: UP045 - kfp knows no other form
    return _plain(origin) if isinstance(origin, type) else None


def parameter_of(name: str, key: tuple[str, ...], field: FieldInfo) -> Parameter:
    """Return the parameter that a field becomes; TypeError where its type is none of a pipeline's parameters."""
    kind = _plain(field.annotation)
    if kind is None:
        raise TypeError(f"{'.'.join(key)}: {field.annotation} is no type of a pipeline's parameter; take str, int, float, bool, list or dict")
    default = field.get_default(call_default_factory=True)
    plain = default is None or isinstance(default, _PLAIN)
    empty = _is_left_open(field) or field.is_required() or how_located(field) is not None or not plain or HOME in str(default)
    return Parameter(name, key, kind, inspect.Parameter.empty if empty else default, field.description or "")


def _is_left_open(field: FieldInfo) -> bool:
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get("given_at_submission"))


def _left_out(field: FieldInfo, value: Any) -> bool:
    """Return whether a field is a folder that may be left out, and was."""
    return how_located(field) is not None and not field.is_required() and value is None


def how_located(field: FieldInfo) -> Any:
    """Return how a field's value is brought to where tasks can read it; None: it needs not be."""
    return next((each for each in [*field.metadata, *_metadata(field.annotation)] if isinstance(each, _Folder | _Source)), None)


def _metadata(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        yield from get_args(annotation)[1:]
    elif get_origin(annotation) in (Union, types.UnionType):
        for each in get_args(annotation):
            yield from _metadata(each)


def _partial(part: type[Section]) -> type[Section]:
    """Return a section whose required keys may be left out."""
    if not any(field.is_required() for field in part.model_fields.values()):
        return part
    fields: dict[str, Any] = {
        name: (field.annotation, given_at_submission(field.description or "")) for name, field in part.model_fields.items() if field.is_required()
    }
    made: Any = create_model(part.__name__, __base__=part, __module__=__name__, **fields)
    return cast(type[Section], made)
