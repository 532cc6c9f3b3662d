"""Print the path of a usable uv, getting it first where there is none. Runs on a bare Python 3.11: the standard library alone.

Tried in turn: uv on PATH; the one put here before; `venv` with pip (which honours the machine's pip settings); and, where Debian's python3-venv
is missing, the wheel itself from the package index, checked against the index's SHA-256.
"""

import hashlib
import io
import os
import platform
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

UV = "0.13.8"
HERE = Path(__file__).resolve().parent / ".venvs" / "uv"


def usable(uv):
    """Tell whether the program `uv` is at least as new as `UV`."""
    try:
        words = subprocess.run([uv, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout.split()
        return tuple(map(int, re.findall(r"\d+", words[1])[:3])) >= tuple(map(int, UV.split(".")))
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        return False


def from_pip():
    """Install uv into a virtual environment of its own; None where this Python cannot make one."""
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", HERE], capture_output=True, text=True, check=False)
    if made.returncode:
        return None
    pip = [HERE / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"uv=={UV}"]
    return HERE / "bin" / "uv" if subprocess.run(pip, stdout=sys.stderr, check=False).returncode == 0 else None


def from_index():
    """Take uv's program out of its wheel."""
    index = (os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("PIP_INDEX_URL") or "https://pypi.org/simple").rstrip("/")
    with urllib.request.urlopen(f"{index}/uv/", timeout=60) as answer:
        page = answer.read().decode()
    name = f"uv-{UV}-py3-none-manylinux_2_17_{platform.machine()}.manylinux2014_{platform.machine()}.whl"
    link = re.search(r'href="([^"]*/' + re.escape(name) + r')#sha256=([0-9a-f]{64})"', page)
    if not link:
        raise ValueError(f"the index has no {name}")
    with urllib.request.urlopen(urllib.parse.urljoin(f"{index}/uv/", link[1]), timeout=300) as answer:
        content = answer.read()
    if hashlib.sha256(content).hexdigest() != link[2]:
        sys.exit(f"{name}: its SHA-256 is not the index's; try again")
    program = HERE / "bin" / "uv"
    program.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        program.write_bytes(archive.read(f"uv-{UV}.data/scripts/uv"))
    program.chmod(0o755)
    return program


def main():
    """Print the path."""
    if not (3, 11) <= sys.version_info[:2] < (3, 14):
        sys.exit(f"Python {platform.python_version()} at {sys.executable}: 3.11, 3.12 or 3.13 is needed; name one with `make PYTHON=python3.11 ...`")
    found = shutil.which("uv")
    if found and usable(found):
        print(found)
        return
    if usable(HERE / "bin" / "uv"):
        print(HERE / "bin" / "uv")
        return
    print("getting uv", file=sys.stderr)
    uv = from_pip()
    if not uv:
        shutil.rmtree(HERE, ignore_errors=True)
        try:
            uv = from_index()
        except (OSError, KeyError, ValueError) as error:
            sys.exit(f"cannot get uv ({error}): check the network, or install it yourself: python3 -m pip install uv")
    print(uv)


main()
