"""The wheel, and an environment that holds it as somebody without a checkout has it: built once a session (fixtures `wheel` and `installed`)."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from intermodal.authoring.images import IMAGES
from intermodal.execution.environments import environment

ROOT = Path(__file__).resolve().parents[1]
UV = Path(sys.executable).parent / "uv"


def variables(**more: str) -> dict[str, str]:
    """Return this process's variables without those by which another environment would find the checkout."""
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV", "INTERMODAL_HOME")}
    return kept | {"COLUMNS": "200", "TERM": "dumb"} | more


def sh(*command: object, cwd: Path, **more: str) -> str:
    """Run a command, which must succeed, and return what it printed."""
    done = subprocess.run(
        [str(each) for each in command],
        cwd=cwd,
        env=variables(**more),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-4000:]
    return done.stdout


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout, from its source distribution: setuptools would put what an earlier build left in `build/` into it as well."""
    with (ROOT / "pyproject.toml").open() as project:  # two suites run at a time
        fcntl.flock(project, fcntl.LOCK_EX)
        sh(UV, "build", "--quiet", "--out-dir", folder, ROOT, cwd=folder)
    return next(folder.glob("*.whl"))


def install(wheel: Path, folder: Path) -> Path:
    """Install a wheel and the packages of its examples into a fresh environment; return the folder of its programs."""
    sh(UV, "venv", "--quiet", "--python", sys.executable, folder, cwd=folder.parent)
    sh(UV, "pip", "install", "--quiet", "--python", folder, f"{wheel}[examples]", cwd=folder.parent)
    return folder / "bin"


def with_environments(installed: Path, cache: Path) -> dict[str, str]:
    """Return variables that name a cache folder in which the images' environments are those of this checkout: the lock is the same."""
    code = "import sys; from intermodal.execution.environments import environment_folder as f; print(*map(f, sys.argv[1:]), sep='\\n')"
    places = sh(installed / "python", "-c", code, *IMAGES, cwd=cache, XDG_CACHE_HOME=str(cache)).splitlines()
    for image, place in zip(IMAGES, map(Path, places), strict=True):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(environment(image).parents[1])
    return {"XDG_CACHE_HOME": str(cache)}
