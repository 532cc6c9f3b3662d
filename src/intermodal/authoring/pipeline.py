"""A pipeline as an entry: a name, a function that wires tasks, and the type of its configuration.

Entries are found under the entry point group `intermodal.pipelines`, and by `module:attribute` or `file.py:attribute`.
"""

import hashlib
import importlib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from docstring_parser import parse
from kfp import dsl

from intermodal.authoring.platform import platforms
from intermodal.configuration.loading import Values, fill_in, missing_key, read_values, validated
from intermodal.configuration.sections import Configuration, Parameter, Place
from intermodal.configuration.shipped import find_configuration
from intermodal.configuration.wiring import pipeline_arguments, pipeline_parameters, wired
from intermodal.runtime.errors import ConfigurationError, MachineError, nearest
from intermodal.runtime.user_code import load_module

GROUP = "intermodal.pipelines"


@dataclass(frozen=True)
class Pipeline:
    """An entry.

    Attributes:
        name: What `pipeline:` in a configuration says.
        build: Wires the tasks: ``def training(settings, deploy)``. `settings.label` is the channel of a key at the top, `**settings.gate` are a
            component's parameters. `deploy` (leave it out where nothing is served) is the platform's step that brings a model to serve, or None
            where the platform has none.
        configuration: What a configuration of it holds: a class derived from `Configuration`.
        summary: Takes a finished run of this machine, and returns the lines that a person wants to read at its end. Default: none.
        platforms: Where it runs: of `local`, `kubeflow`, `vertex`. Default: anywhere.
    """

    name: str
    build: Callable[..., Any]
    configuration: type[Configuration]
    summary: Callable[[Any], Iterable[str]] | None = None
    platforms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """A pipeline with its configuration: what `run`, `submit` and the others take.

    Attributes:
        pipeline: The entry.
        settings: The configuration.
        path: The file that it was read from.
        left_out: Keys of the profile that this pipeline does not have, and another installed one has.
    """

    pipeline: Pipeline
    settings: Configuration
    path: Path
    left_out: tuple[str, ...] = ()

    @property
    def base(self) -> Path:
        """The folder that relative paths in the configuration start from."""
        return self.path.parent.resolve()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know who starts it: a sentence each."""
        if not self.left_out:
            return ()
        are, name = "is" if len(self.left_out) == 1 else "are", self.pipeline.name
        return (f"{', '.join(self.left_out)} under `set` in targets.toml {are} left out: the pipeline {name!r} has no such key",)

    def runs_on(self, platform: str) -> bool:
        """Return whether the pipeline has what it needs on a platform."""
        return not self.pipeline.platforms or platform in self.pipeline.platforms

    def wire(self, platform: str, deploy: Callable[..., Any] | None = None) -> Any:
        """Return the pipeline as kfp compiles it.

        Args:
            platform: Whose part of the configuration counts: `local`, `kubeflow`, `vertex`.
            deploy: The step that brings a model to serve. Default: the platform's own (`Platform.deploy`).

        Raises:
            ConfigurationError: The pipeline does not run on the platform.
            MachineError: A package that it needs is not installed.
        """
        if not self.runs_on(platform):
            only = " or ".join(self.pipeline.platforms)
            raise ConfigurationError(f"{self.path}: the pipeline {self.pipeline.name!r} runs on {only} only, not on {platform}")
        parameters = pipeline_parameters(self.settings, platform)
        build, settings = self.pipeline.build, self.settings

        def function(*channels: Any) -> Any:
            named = dict(zip((each.name for each in parameters), channels, strict=True))
            extra = {"deploy": deploy or platforms()[platform].deploy} if "deploy" in inspect.signature(build).parameters else {}
            return build(wired(settings, platform, named), **extra)

        about = (parse(build.__doc__ or "").short_description or self.pipeline.name).strip()
        function.__name__ = self.pipeline.name.replace("-", "_")
        function.__doc__ = _documentation(about, parameters)
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        signature = [inspect.Parameter(each.name, kind, default=each.default, annotation=each.annotation) for each in parameters]
        returned = inspect.signature(build).return_annotation
        function.__signature__ = inspect.Signature(signature, return_annotation=returned)  # type: ignore[attr-defined]
        try:
            return dsl.pipeline(name=self.settings.name, description=about)(function)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0].replace("_", "-")
            extra = f"'intermodal[{platform}]'" if package.startswith("google") else package
            raise MachineError(f"{package} is not installed, and the pipeline {self.pipeline.name!r} needs it: pip install {extra}") from error

    def arguments(self, platform: str, place: Place, *, without: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Return the pipeline's arguments; see `pipeline_arguments`."""
        return pipeline_arguments(self.settings, platform, place, without=without)

    def sections(self, platform: str, values: dict[str, Any]) -> Any:
        """Return parameters by name as the pipeline function gets them, for instance `sections("local", arguments).gate`."""
        return wired(self.settings, platform, values)

    def defaults(self, platform: str) -> dict[str, Any]:
        """Return the arguments that are the same wherever the file is submitted from: all but those that name files of this machine."""
        every = frozenset(each.name for each in pipeline_parameters(self.settings, platform))
        place = Place(self.base, folder=_elsewhere, source=_elsewhere, home=_elsewhere)
        made: dict[str, Any] = {}
        for name in every:
            try:
                made |= self.arguments(platform, place, without=every - {name})
            except _ElsewhereError:
                continue
        return made


def find_pipeline(name: str, base: Path = Path()) -> Pipeline:
    """Return an entry.

    Args:
        name: A name of the group `intermodal.pipelines`, `module:attribute`, or `file.py:attribute`.
        base: The folder that a file's path starts from.

    Raises:
        ConfigurationError: There is none, it is no `Pipeline`, or its module fails.
    """
    module, colon, attribute = name.rpartition(":")
    found: Any
    if not colon:
        entries = {each.name: each for each in entry_points(group=GROUP)}
        if name not in entries:
            raise ConfigurationError(f"there is no pipeline {name!r}; {nearest(name, entries)}, or write module:attribute or file.py:attribute")
        found = entries[name].load()
    elif module.endswith(".py"):
        path = (base / module).resolve()
        if not path.is_file():
            raise ConfigurationError(f"pipeline {name!r}: there is no file {path}")
        found = _attribute(load_module(path, f"_pipeline_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"), attribute, name)
    else:
        try:
            found = _attribute(importlib.import_module(module), attribute, name)
        except (ImportError, ValueError) as error:
            raise ConfigurationError(f"pipeline {name!r}: cannot import {module!r} ({error}); install it, or write file.py:attribute") from error
    if not isinstance(found, Pipeline):
        raise ConfigurationError(f"pipeline {name!r}: it is {type(found).__name__}, not intermodal.authoring.pipeline.Pipeline")
    return found


def load_job(path: Path, overrides: list[str] | None = None, *, profile: list[str] | None = None, known: dict[str, Any] | None = None) -> Job:
    """Read a configuration, and the pipeline that it names.

    Args:
        path: A YAML file, or the path or name of one that comes with the package.
        overrides: `section.key=value` texts, each value YAML, applied over the file.
        profile: The same, of a profile in `targets.toml`, which serves every pipeline: keys that only another installed pipeline has are left out,
            and named in the job's `left_out`.
        known: `section.key` to value, for keys that the file leaves open: what a platform knows of itself.

    Raises:
        ConfigurationError: The file is missing, is not YAML, or says something wrong; the message names the line, the key, and the key that
            was probably meant.
    """
    path = find_configuration(path)
    pipeline = _pipeline_of(read_values(path, overrides))
    left_out = _left_out(pipeline, [each.partition("=")[0] for each in profile or []])
    meant = [each for each in profile or [] if each.partition("=")[0] not in left_out]
    values = read_values(path, [*meant, *(overrides or [])])
    fill_in(values, pipeline.configuration, known or {})
    return Job(pipeline, validated(values, pipeline.configuration), values.path, left_out)


def _left_out(pipeline: Pipeline, keys: list[str]) -> tuple[str, ...]:
    """Return the keys of a profile that another installed pipeline has, and this one has not.

    Raises:
        ConfigurationError: No pipeline has a key.
    """
    foreign = [key for key in keys if missing_key(pipeline.configuration, key)]
    kinds = [pipeline.configuration, *(entry.load().configuration for entry in entry_points(group=GROUP))] if foreign else []
    for key in foreign:
        missing = [missing_key(kind, key) for kind in kinds]
        if None not in missing:
            parts = key.split(".")
            part = max((each[0] for each in missing if each), key=parts.index)  # the others do not even have the section
            near = {name for each in missing if each and each[0] == part for name in each[1]}
            raise ConfigurationError(f"targets.toml: set: {key}: no installed pipeline has the key {part!r}; {nearest(part, near)}")
    return tuple(foreign)


def _pipeline_of(values: Values) -> Pipeline:
    named = values.content.get("pipeline", Configuration.model_fields["pipeline"].default)
    where = f"{values.path}, line {values.line(('pipeline',))}: pipeline"
    if not isinstance(named, str):
        raise ConfigurationError(f"{where}: expected a name, module:attribute or file.py:attribute, not {named!r}")
    try:
        return find_pipeline(named, values.path.parent)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from error


def _attribute(module: Any, attribute: str, name: str) -> Any:
    if not hasattr(module, attribute):
        known = [key for key, value in vars(module).items() if isinstance(value, Pipeline)]
        raise ConfigurationError(f"pipeline {name!r}: the module has no {attribute!r}; its pipelines: {', '.join(known) or 'none'}")
    return getattr(module, attribute)


def _documentation(about: str, parameters: list[Parameter]) -> str:
    rows = [f"    {each.name}: {' '.join(each.description.split())}" for each in parameters if each.description]
    return "\n".join([about, *(["", "Args:", *rows] if rows else [])])


class _ElsewhereError(Exception):
    """A value depends on where the pipeline runs."""


def _elsewhere(*_: Any) -> str:
    raise _ElsewhereError
