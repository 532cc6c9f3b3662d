"""A digest of the code that a task can reach: it changes when that code does, and only then."""

import ast
import hashlib
import re
from functools import cache
from pathlib import Path

import intermodal

_ROOT = Path(intermodal.__file__).resolve().parent


def code_digest(command: list[str]) -> str:
    """Return a digest of the package's modules that a task's command names, and of all that these import in turn.

    Args:
        command: The task's command line, with the source of a lightweight component.

    Returns:
        Twelve hexadecimal digits; the same for every command that names no module of ours.
    """
    found: set[Path] = set()
    for text in command:
        for name in re.findall(r"\bintermodal(?:\.\w+)+", text):
            _follow(name, found)
    digest = hashlib.sha256()
    for path in sorted(found):
        digest.update(str(path.relative_to(_ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _follow(name: str, found: set[Path]) -> None:
    path = _ROOT.joinpath(*name.split(".")[1:])
    module = path.with_suffix(".py")
    if not module.exists():
        module = path / "__init__.py"
    if not module.exists() or module in found:
        return
    found.add(module)
    # Templates and other data, and of a component modules, that are not found by imports: in a component's whole folder, elsewhere beside the module.
    component = module.parent.parent == _ROOT / "components"
    data = module.parent.rglob("*") if component else module.parent.glob("*.css")
    found.update(each for each in data if each.is_file() and each.suffix not in (".py", ".pyc", ".md"))
    if component:
        for sibling in module.parent.glob("*.py"):
            _follow(f"intermodal.components.{module.parent.name}.{sibling.stem}", found)
    for each in _imports(module):
        _follow(each, found)


@cache
def _imports(module: Path) -> frozenset[str]:
    names = set()
    for node in ast.walk(ast.parse(module.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"intermodal(\.\w+)+", node.value):
            names.add(node.value)  # a class or module named by its path
    return frozenset(name for name in names if name.startswith("intermodal."))
