"""Environments: one virtual environment per image, made from its group of the one lock file."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import intermodal
from intermodal.authoring.images import image_of
from intermodal.runtime.artifacts import write_json
from intermodal.runtime.errors import MachineError

_PACKAGE = Path(intermodal.__file__).resolve().parent
#: Settings of uv that decide which versions the lock names, and nothing about how these are installed: the lock shows what they changed.
_RESOLUTION_SETTINGS = {
    "conflicts", "constraint-dependencies", "default-groups", "dependency-groups", "dependency-metadata", "dev-dependencies", "environments",
    "exclude-newer", "exclude-newer-package", "fork-strategy", "override-dependencies", "prerelease", "required-environments", "required-version",
    "resolution", "upgrade", "upgrade-package",
}  # fmt: skip


def lock_folder() -> Path:
    """Return the folder that holds pyproject.toml and uv.lock: the checkout's root, or the package's own copy."""
    checkout = _PACKAGE.parent.parent
    return checkout if (checkout / "uv.lock").exists() and (checkout / "pyproject.toml").exists() else _PACKAGE / "environments"


def environment_digest(group: str) -> str:
    """Return a short digest of a group's environment: its locked packages with their hashes, how uv installs them, and this Python.

    Packages of other groups and other lines of pyproject.toml do not change it.

    Raises:
        MachineError: There is no such group, or the lock does not match pyproject.toml.
    """
    return _environment_digest(group, lock_folder(), tuple(_state(lock_folder() / name) for name in ("pyproject.toml", "uv.lock")))


def runner_digest() -> str:
    """Return a short digest of this process's own environment: the names and versions of installed packages, and this Python."""
    names = {each.name for folder in sys.path if Path(folder).is_dir() for each in Path(folder).glob("*-info")}
    return hashlib.sha256(f"{sys.version_info[:3]} {sorted(names)}".encode()).hexdigest()[:16]


def image_digest(image: str) -> str:
    """Return the digest of the environment that tasks of an image run in here; see `environment_digest` and `runner_digest`."""
    group = image_of(image)
    return environment_digest(group) if group else runner_digest()


def _state(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


@cache
def _environment_digest(group: str, folder: Path, states: tuple[object, ...]) -> str:
    # uv takes a tenth of a second for each group: its answers are kept until one of the two files changes.
    project = (folder / "pyproject.toml").read_bytes()
    source = hashlib.sha256(b"\0".join([str(sys.version_info[:3]).encode(), project, (folder / "uv.lock").read_bytes()])).hexdigest()
    memory = _environments() / ".digests.json"
    try:
        known: dict[str, Any] = json.loads(memory.read_text())
    except (OSError, ValueError):
        known = {}
    digests = known["digests"] if known.get("source") == source else {}
    if group not in digests:
        settings = tomllib.loads(project.decode()).get("tool", {}).get("uv", {})
        installing = {name: value for name, value in settings.items() if name not in _RESOLUTION_SETTINGS}
        seen = [str(sys.version_info[:3]), json.dumps(installing, sort_keys=True, default=str), _locked_packages(group, folder)]
        digests |= {group: hashlib.sha256("\0".join(seen).encode()).hexdigest()[:16]}
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_json(memory, {"source": source, "digests": digests})
    return str(digests[group])


def _locked_packages(group: str, folder: Path) -> str:
    """Return what the lock installs for a group, a requirements file with hashes."""
    command = [_uv(), "export", "--locked", "--only-group", group, "--no-emit-project", "--no-header", "--no-annotate", "--quiet"]
    command += ["--project", str(folder), "--python", sys.executable]
    done = subprocess.run(command, env=_variables(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise MachineError(f"the locked packages of {group!r} cannot be read from {folder / 'uv.lock'}:\n{done.stderr.strip()}")
    return done.stdout


def _environments() -> Path:
    """Return the folder of all environments."""
    if lock_folder() != _PACKAGE / "environments":
        return lock_folder() / ".venvs"
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "intermodal" / "environments"


def environment_folder(group: str) -> Path:
    """Return the folder of a group's environment, which need not exist yet."""
    if lock_folder() != _PACKAGE / "environments":
        return _environments() / group
    return _environments() / environment_digest(group) / group


def environment(group: str, announce: Callable[[str], None] = lambda group: None) -> Path:
    """Return the Python of a group's environment; make or renew the environment first where needed.

    Args:
        group: A dependency group, usually named as an image.
        announce: Called with the group before an environment is made, which can take a minute with downloads.

    Raises:
        MachineError: The environment cannot be made.
    """
    folder = environment_folder(group)
    stamp, digest = folder / ".lock-digest", environment_digest(group)
    if _is_fresh(stamp, digest):
        return folder / "bin" / "python"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{group}.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not _is_fresh(stamp, digest):
            announce(group)
            _make(group, folder)
            stamp.unlink(missing_ok=True)  # never in place: copies of an environment may share the file by a hard link
            stamp.write_text(digest)
    return folder / "bin" / "python"


def _is_fresh(stamp: Path, digest: str) -> bool:
    return stamp.exists() and stamp.read_text() == digest and (stamp.parent / "bin" / "python").exists()


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
        raise MachineError(f"the environment {group!r} cannot be made in {folder}; `intermodal doctor` may say why:\n{done.stderr.strip()}")
