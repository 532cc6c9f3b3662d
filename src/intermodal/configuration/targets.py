"""`targets.toml`: which platforms there are, by profile, and what each needs to know; never a secret."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from intermodal.authoring.platform import platforms
from intermodal.runtime.errors import ConfigurationError, nearest
from intermodal.runtime.safe_yaml import read_text
from intermodal.runtime.secret_values import refuse_secrets

_SECRETS = (
    "this file is committed too: name a Kubernetes secret (tasks.NAME.secrets), a token file or command, or use Application Default Credentials"
)

Labels = dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")], Annotated[str, Field(pattern=r"^[a-z0-9_-]{0,63}$")]]


class Table(BaseModel):
    """A table of the file: a key that it does not have is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Shape(Table):
    """A machine for a task, by name; each platform spells it in its own way."""

    cpu: float | None = Field(None, gt=0, description="Virtual CPUs")
    memory: str | None = Field(None, pattern=r"^[1-9]\d*(Ki|Mi|Gi|K|M|G)$", description='For instance "32G"')
    accelerator: str | None = Field(None, description="t4, v100, l4, a100, a100-80gb, h100, tpu-v5e")
    accelerators: int = Field(1, ge=1, description="How many")


class TaskSettings(Table):
    """What one task gets."""

    shape: str | None = None

    def unusable(self, *, distributable: bool) -> list[str]:
        """Return the keys given that do nothing for the task.

        Args:
            distributable: Whether its component is ours and has a parameter `workers`.
        """
        return []


class RemoteSettings(Table):
    """What every platform has that pipelines are submitted to; each adds keys of its own.

    `platforms.compiling.ClusterTarget` compiles images, tasks, retries and labels in; `submission.prepare` reads `root`, `set` and `cached`;
    `submit --wait` reads `start_timeout`.
    """

    root: str = Field(description="Artifact root")
    image_repository: str = Field(description="Registry and path of the images")
    labels: Labels = {}
    cached: bool = Field(True, description="False: nothing is reused")
    retries: int = Field(0, ge=0, le=10, description="Times a failed task is started again")
    set: dict[str, Any] = Field({}, description="Configuration keys that differ here, as with --set")
    tasks: dict[str, TaskSettings] = Field({}, description="By task name, as the compiled file has it")
    start_timeout: float = Field(
        1800.0,
        ge=0,
        description="Seconds for which `--wait` lets a run wait for images or machines while none of its tasks runs; 0: no limit",
    )

    @property
    def root_endpoint(self) -> str | None:
        """The address of the store that `root` is in, where its scheme does not say it."""
        return None


class Targets(Table):
    """The whole file; `targets_type` has the platforms' tables."""

    default_profile: str = "dev"
    shapes: dict[str, Shape] = {}
    profiles: dict[str, Any] = Field(min_length=1)

    @model_validator(mode="after")
    def _shapes_exist(self) -> "Targets":
        for name, profile in self.profiles.items():
            for _, target in profile:
                for task, settings in (target.tasks if isinstance(target, RemoteSettings) else {}).items():
                    if settings.shape and settings.shape not in self.shapes:
                        raise ValueError(f"profiles.{name}: task {task!r} wants the shape {settings.shape!r}; {nearest(settings.shape, self.shapes)}")
        return self

    def profile(self, name: str | None = None) -> Any:
        """Return a profile: the settings of each platform, None where the profile does not have it.

        Args:
            name: Default: `default_profile`.

        Raises:
            ConfigurationError: There is none of that name; the message names the nearest.
        """
        wanted = name or self.default_profile
        if wanted not in self.profiles:
            raise ConfigurationError(f"targets.toml: there is no profile {wanted!r}; {nearest(wanted, self.profiles)}")
        return self.profiles[wanted]


@cache
def targets_type() -> type[Targets]:
    """Return the type of the whole file: a profile has a table for each installed platform; one without a required key is there unasked."""
    tables: dict[str, Any] = {}
    for name, each in platforms().items():
        required = any(field.is_required() for field in each.settings.model_fields.values())
        tables[name] = (each.settings | None, None) if required else (each.settings, Field(default_factory=each.settings))
    profile: Any = create_model("Profile", __base__=Table, __doc__="The targets of one environment: dev, staging, prod.", **tables)
    return create_model("Targets", __base__=Targets, profiles=(dict[str, profile], Field(min_length=1)))


def load_targets(path: Path) -> Targets:
    """Read and check a `targets.toml`.

    Raises:
        ConfigurationError: The file is missing, is not TOML, says something wrong or holds a secret; the message names the key and the remedy.
    """
    text = read_text(path, "copy targets.example.toml there and write your project and cluster into it")
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:  # RecursionError: nested hundreds of levels deep
        raise ConfigurationError(f"{path}: not TOML: {error}") from error
    refuse_secrets(values, str(path), _SECRETS)
    try:
        return targets_type().model_validate(values)
    except ValidationError as error:
        raise ConfigurationError("\n".join(dict.fromkeys(_in_words(path, problem) for problem in error.errors()))) from error


def _in_words(path: Path, problem: Any) -> str:
    location = [str(part) for part in problem["loc"]]
    where = f"{path}: {'.'.join(location)}" if location else f"{path}"
    if problem["type"] == "extra_forbidden":
        if elsewhere := _elsewhere(location):
            return f"{where}: this key exists only on {' and '.join(elsewhere)}; remove it"
        return f"{where}: there is no such key; {nearest(location[-1], _known(location[:-1]))}"
    if problem["type"] == "missing":
        return f"{where}: this key is required"
    if problem["type"] == "value_error":
        return f"{where}: {problem['msg'].removeprefix('Value error, ')}"
    return f"{where}: {problem['msg']}, not {problem['input']!r}"


def _elsewhere(location: list[str]) -> list[str]:
    """Return the platforms that have a key where this one has it not."""
    if len(location) < 4:
        return []
    _, profile, platform, *place, key = location
    return [name for name in platforms() if name != platform and key in _known(["profiles", profile, name, *place])]


def _known(location: list[str]) -> list[str]:
    """Return the keys that the table at `location` may have."""
    section: type[BaseModel] = targets_type()
    for part in location:
        annotation = section.model_fields[part].annotation if part in section.model_fields else None
        section = next((each for each in _classes(annotation) if issubclass(each, BaseModel)), section)
    return list(section.model_fields)


def _classes(annotation: Any) -> list[type]:
    inner = [each for argument in getattr(annotation, "__args__", ()) for each in _classes(argument)]
    return [annotation, *inner] if isinstance(annotation, type) and not hasattr(annotation, "__args__") else inner
