"""The page of the command line: every command, argument and option, from the commands themselves."""

import inspect
from collections.abc import Iterator
from typing import Any

import typer

from intermodal.cli.main import app
from intermodal.reference.markdown import notice, table


def commands_page() -> dict[str, str]:
    """Return the page, file name to text."""
    root = typer.main.get_command(app)
    parts = ["# Commands", (root.help or "").strip(), *_commands("intermodal", root)]
    return {"commands.md": notice("src/intermodal/cli") + "\n\n".join(parts) + "\n"}


def _commands(path: str, group: Any) -> Iterator[str]:
    for name, command in sorted(group.commands.items()):
        called = f"{path} {name}"
        yield f"## {called}" + "\n\n" + inspect.cleandoc(command.help or "").replace("\b\n", "")
        if rows := [_row(each) for each in command.params if not getattr(each, "hidden", False)]:
            yield table(("", "Default", ""), rows)
        if hasattr(command, "commands"):
            yield from _commands(called, command)


def _row(parameter: Any) -> tuple[str, str, str]:
    names = [*parameter.opts, *parameter.secondary_opts] if parameter.param_type_name == "option" else [parameter.metavar or parameter.name.upper()]
    default = "*required*" if parameter.required else "" if parameter.default in (None, "", False, ()) else f"`{parameter.default}`"
    return ", ".join(f"`{each}`" for each in names), default, getattr(parameter, "help", None) or ""
