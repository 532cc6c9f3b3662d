"""The catalog: which components there are, and where their pages and compiled files are."""

import difflib
import importlib
import json
import pkgutil
from pathlib import Path
from typing import Any

import intermodal.components
from intermodal.runtime.errors import ConfigurationError


def component_names() -> list[str]:
    """Return the names of all components, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(intermodal.components.__path__) if module.ispkg)


def load_component(name: str) -> Any:
    """Return a component by its name.

    Raises:
        ConfigurationError: There is none of that name; the message names the nearest.
    """
    names = component_names()
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f"did you mean {close[0]}?" if close else "`intermodal list` names them all"
        raise ConfigurationError(f"there is no component {name!r}; {hint}")
    return getattr(importlib.import_module(f"intermodal.components.{name}.component"), name)


def type_name(schema: str) -> str:
    """Return what people call a type of kfp: `Dataset` for `system.Dataset@0.0.1`."""
    return schema.partition("@")[0].removeprefix("system.")


def default_text(value: Any) -> str:
    """Return an input's default as JSON; `none` where it is left out, `required` where there is none."""
    if not value.optional:
        return "required"
    return "none" if value.default is None else json.dumps(value.default, ensure_ascii=False)


def component_page(name: str) -> Path:
    """Return the path of a component's own page."""
    return Path(next(iter(intermodal.components.__path__))) / name / "README.md"


def compiled_component(name: str) -> Path:
    """Return the path of a component's compiled file, which kfp's `load_component_from_file` takes."""
    return Path(next(iter(intermodal.__path__))).resolve() / "compiled" / "components" / f"{name}.yaml"
