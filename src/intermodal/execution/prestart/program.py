"""What a lightweight component's command line runs: the same, as a value that a prestarted process takes."""

import ast
import re
from dataclasses import dataclass
from functools import cache

#: The script that kfp 2.17 compiles into a component, where it installs nothing.
_SCRIPT = re.compile(
    r'\s*program_path=\$\(mktemp -d\)\s+printf "%s" "\$0" > "\$program_path/ephemeral_component\.py"\s+'
    r'_KFP_RUNTIME=true python3 -m kfp\.dsl\.executor_main\s+--component_module_path\s+"\$program_path/ephemeral_component\.py"\s+"\$@"\s*'
)
#: How `platforms/kubeflow/workers.py` begins the command of a task that may have several workers.
_WRAPPER = ["python3", "-m", "intermodal.workers.trainjob"]


@dataclass(frozen=True)
class Program:
    """A lightweight component: its source, the arguments of kfp's executor, and the project's modules that its body imports."""

    source: str
    arguments: tuple[str, ...]
    modules: tuple[str, ...]


def program(command: list[str]) -> Program | None:
    """Return what a command runs, or None when it is anything else than kfp's executor on one source text."""
    if command[:3] == _WRAPPER and "--" in command:  # compiled for Kubeflow; on this machine it would become what it wraps
        command = command[command.index("--") + 1 :]
    if len(command) < 4 or command[0] != "sh" or command[1] not in ("-c", "-ec") or not _SCRIPT.fullmatch(command[2]):
        return None
    return Program(command[3], tuple(command[4:]), _modules(command[3]))


@cache
def _modules(source: str) -> tuple[str, ...]:
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError):
        return ()
    names = [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    names += [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return tuple(dict.fromkeys(name for name in names if name.startswith("intermodal.")))
