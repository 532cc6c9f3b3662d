"""The command lines of `intermodal` that files outside this repository's Python hold, held against the real command line."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import typer

from intermodal.cli.main import app


def commands_in(text: str) -> Iterator[list[str]]:
    """Yield the arguments of every `intermodal` command line in a shell script, with shell variables left as they are."""
    joined = re.sub(r"\\\n\s*", " ", text)
    for line in joined.splitlines():
        for match in re.finditer(r"(?:^|[\s;&|])(?:\S*/)?intermodal\s+([a-z][^;&|]*)", line):
            words = [word for word in shlex.split(match[1], comments=True) if not re.fullmatch(r"\$\{\w+\[@\]\}", word)]
            yield words


def check(arguments: list[str]) -> None:
    """Parse a command line as the command itself would, without running it; raises what click would show."""
    command: Any = typer.main.get_command(app)
    context = command.context_class(command, info_name="intermodal")
    words = list(arguments)
    while hasattr(command, "resolve_command"):
        name, command, words = command.resolve_command(context, words)
        context = command.context_class(command, info_name=name, parent=context)
    command.parse_args(context, words)
