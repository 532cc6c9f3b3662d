"""Environments: one virtual environment per image, made from its group of the one lock file."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import intermodal
from intermodal.runtime.errors import MachineError

_PACKAGE = Path(intermodal.__file__).resolve().parent


@cache
def lock_folder() -> Path:
    """Return the folder that holds pyproject.toml and uv.lock: the checkout's root, or the package's own copy."""
    checkout = _PACKAGE.parent.parent
    return checkout if (checkout / "uv.lock").exists() and (checkout / "pyproject.toml").exists() else _PACKAGE / "environments"


@cache
def lock_digest() -> str:
    """Return a short digest of what the environments are made of: the lock and this Python."""
    digest = hashlib.sha256(f"{sys.version_info[:3]}".encode())
    for name in ("pyproject.toml", "uv.lock"):
        digest.update((lock_folder() / name).read_bytes())
    return digest.hexdigest()[:16]


def environment_folder(group: str) -> Path:
    """Return where the environment of a dependency group lies, made or not."""
    if lock_folder() != _PACKAGE / "environments":
        return lock_folder() / ".venvs" / group
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "intermodal" / "environments" / lock_digest() / group


def environment(group: str, announce: Callable[[str], None] = lambda group: None) -> Path:
    """Return the Python of a group's environment, making or renewing it first where needed.

    Args:
        group: A dependency group, usually named as an image.
        announce: Called with the group before an environment is made, which can take a minute with its downloads.

    Raises:
        MachineError: The environment cannot be made.
    """
    folder = environment_folder(group)
    stamp = folder / ".lock-digest"
    if _is_fresh(stamp):
        return folder / "bin" / "python"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{group}.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not _is_fresh(stamp):
            announce(group)
            _make(group, folder)
            stamp.write_text(lock_digest())
    return folder / "bin" / "python"


def _is_fresh(stamp: Path) -> bool:
    return stamp.exists() and stamp.read_text() == lock_digest() and (stamp.parent / "bin" / "python").exists()


def disposable_environment(folder: Path) -> Path:
    """Make an empty environment with pip, for a task that installs its own packages as it starts; return its folder of programs.

    Raises:
        MachineError: It cannot be made.
    """
    command = [_uv(), "venv", "--quiet", "--seed", "--python", sys.executable, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_variables())
    if done.returncode:
        raise MachineError(f"an environment for the task's own packages cannot be made: {done.stderr.strip()}")
    return folder / "bin"


def _uv() -> str:
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]))
    if uv is None:
        raise MachineError("uv, which makes the environments of the tasks, is not on PATH: python3 -m pip install uv")
    return uv


def _variables() -> dict[str, str]:
    passed = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")}
    return passed | {"UV_PYTHON_DOWNLOADS": "never"}


def _make(group: str, folder: Path) -> None:
    command = [_uv(), "sync", "--locked", "--only-group", group, "--no-install-project", "--compile-bytecode", "--quiet"]
    done = subprocess.run(
        [*command, "--project", str(lock_folder()), "--python", sys.executable],
        env=_variables() | {"UV_PROJECT_ENVIRONMENT": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise MachineError(f"the environment {group!r} cannot be made in {folder}; `intermodal doctor` may tell why:\n{done.stderr.strip()}")
