"""A platform as an entry: a name, the type of its settings, and what it does in its own way.

Entries are found under the entry point group `intermodal.platforms`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from intermodal.runtime.errors import ConfigurationError

GROUP = "intermodal.platforms"


@dataclass(frozen=True)
class Platform:
    """An entry. Only `name`, `settings` and `open` are required.

    Attributes:
        name: What `--target`, the profiles of `targets.toml`, `serving.NAME` in a configuration and the folder below `compiled/` say.
        settings: The type of its table in `targets.toml`: derived from `configuration.targets.RemoteSettings`, but for this machine's.
        open: Takes its settings, and returns what submits and answers for runs (`platforms.interface.RemoteTarget`). Its client is imported here.
        deploy: How it brings a model to serve: a component, or a function that adds tasks and returns the last. It takes `model`, `evaluation`,
            `registration` and `name`, and has one artifact as output; it must fail where the model does not answer right, for the champion
            changes after it. Its other parameters are the keys of `serving.NAME`. Default: it serves nothing.
        deploy_fields: Types and defaults of some of these keys, as `configuration.sections.section` takes them.
        known: Takes its settings and the images' digests, and returns what it knows of itself: configuration key to value, which stands where the
            configuration leaves the key open.
        resources: Takes a shape's name and the shape, and returns the `resources` of a container in the compiled file. Default: it has no shapes.
        document: Takes the specification, the settings of tasks by name, the shapes and the labels, and returns a second document of the compiled
            file. Default: there is none.
        distribute: Takes the compiled file's specification, a component of it (ours, with a parameter `workers`) and the settings (None
            without a profile), and changes in place what runs that component, so that more than one worker runs on machines of their own. Its
            container's image and resources are set by then. Default: all workers run on the machine of the task.
        tune: Takes the same, of a component that searches (ours, with the parameters `space` and `trials`), and changes in place what runs it, so
            that its trials run elsewhere (`tuning.roles`) where the settings say so. Default: they run in the task.
        fixed: Parameters of components whose value is the compiled file's: a submission with another value is refused.
        placeholders: Names of placeholders (`{{$.NAME}}`) that it fills in beside kfp's.
        rules: The module of the linter's rules that hold for it alone. Default: only those that hold for every platform.
        uploads: Whether it keeps pipelines that are uploaded (`upload`).
        remote: Whether files are compiled for it and submitted to it; False: this machine.
    """

    name: str
    settings: type[Any]
    open: Callable[[Any], Any]
    deploy: Any = None
    deploy_fields: Mapping[str, Any] = field(default_factory=dict)
    known: Callable[[Any, dict[str, str]], dict[str, Any]] = lambda settings, digests: {}
    resources: Callable[[str, Any], dict[str, Any]] | None = None
    document: Callable[[Any, dict[str, Any], dict[str, Any], dict[str, str]], dict[str, Any]] = lambda specification, tasks, shapes, labels: {}
    distribute: Callable[[dict[str, Any], str, Any], None] | None = None
    tune: Callable[[dict[str, Any], str, Any], None] | None = None
    fixed: tuple[str, ...] = ()
    placeholders: tuple[str, ...] = ()
    rules: str = ""
    uploads: bool = False
    remote: bool = True


@cache
def platforms() -> dict[str, Platform]:
    """Return the installed platforms, in the order of their names.

    Raises:
        ConfigurationError: An entry point does not load, or names no `Platform`.
    """
    found = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda each: each.name):
        try:
            loaded = entry.load()
        except (ImportError, AttributeError) as error:
            raise ConfigurationError(f"the platform {entry.name!r} ({entry.value}) does not load: {error}; install its package again") from error
        if not isinstance(loaded, Platform) or loaded.name != entry.name:
            raise ConfigurationError(
                f"the entry point {entry.name!r} of {GROUP} ({entry.value}) must be an intermodal.authoring.platform.Platform of that name, "
                f"not {loaded if isinstance(loaded, Platform) else type(loaded).__name__}; correct it in its package"
            )
        found[entry.name] = loaded
    return found


def remote_platforms() -> dict[str, Platform]:
    """Return the platforms that files are compiled for and submitted to, by name."""
    return {name: each for name, each in platforms().items() if each.remote}


def find_platform(name: str) -> Platform:
    """Return a platform that files are compiled for.

    Raises:
        ConfigurationError: There is none of that name.
    """
    if name not in remote_platforms():
        raise ConfigurationError(f"there is no target {name!r}; the targets are {', '.join(remote_platforms())} and local")
    return remote_platforms()[name]
