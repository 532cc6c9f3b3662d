"""The commit of the source that tasks of this machine run."""

import os
import subprocess
from pathlib import Path

from intermodal import __version__
from intermodal.execution.environments import lock_folder
from intermodal.runtime.provenance import UNKNOWN

_SECONDS = 10.0


def source_commit() -> str:
    """Return the commit of the checkout that this package is in, as `commit_of` gives it; of an installed package its version."""
    folder = lock_folder()
    if not (folder / "src" / "intermodal").is_dir():
        return f"none: intermodal {__version__} as a package"
    return commit_of(folder)


def commit_of(folder: Path) -> str:
    """Return the commit of a folder's Git checkout, with `-dirty` where files differ from it or are new; `unknown` where Git does not say.

    A folder that Git does not track, inside a checkout of something else, is unknown.
    """
    tracked = _git(folder, "ls-files", "--error-unmatch", "pyproject.toml")
    lines = _git(folder, "status", "--porcelain=v2", "--branch") if tracked else None
    commit = next((line.rpartition(" ")[2] for line in lines or () if line.startswith("# branch.oid ")), "")
    if not lines or len(commit) < 40:  # `(initial)`: there is none yet
        return UNKNOWN
    return commit + "-dirty" * any(not line.startswith("#") for line in lines)


def _git(folder: Path, *words: str) -> list[str] | None:
    # Without variables of Git's own: in a hook they name the repository that is being committed to.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(folder), *words], env=variables, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.splitlines() if done.returncode == 0 else None
