"""Tasks in containers of their images, by Docker's own command line.

The command, run as a subprocess, gives the container's exit status. kfp's runner asks the daemon, which removes the container by itself: when the
removal comes first, it takes a failed task for a successful one.
"""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from intermodal.runtime.errors import MachineError


def check_docker() -> None:
    """Check that Docker can be used.

    Raises:
        MachineError: The command is missing or no daemon answers within ten seconds.
    """
    if shutil.which("docker") is None:
        raise MachineError("docker is not on PATH: install Docker Engine, or run without --docker")
    try:
        asked = subprocess.run(["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        raise MachineError("Docker's daemon does not answer within 10 s: restart it, or run without --docker") from None
    if asked.returncode:
        raise MachineError(f"Docker's daemon does not answer ({asked.stderr.strip()}): start it, or run without --docker")


def image_content(image: str) -> str:
    """Return the id of an image's content on this machine, or its reference when Docker does not have it yet and will pull it."""
    command = ["docker", "image", "inspect", "--format", "{{.Id}}", image]
    asked = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return asked.stdout.strip() if asked.returncode == 0 and asked.stdout.strip() else image


def container_name(run: str, task: str, attempt: int) -> str:
    """Return a valid and unique name for a container."""
    digest = hashlib.sha256(f"{run} {task} {attempt}".encode()).hexdigest()[:12]
    return f"intermodal-{re.sub(r'[^a-zA-Z0-9]+', '-', task)[:40].strip('-')}-{digest}"


def run_command(
    image: str, command: list[str], *, name: str, home: Path, mounts: list[Path], variables: dict[str, str], passed: list[str]
) -> list[str]:
    """Return the command line that runs one task in a container.

    Paths are the same inside and out: `home`, where artifacts and stores are, to write, and `mounts` to read only. The container shares the
    machine's network and the caller's user and group, so that servers on localhost are reached and files belong to the caller.

    Args:
        image: The image's reference.
        command: The task's command.
        name: The container's name, by which it is killed.
        home: Mounted for writing.
        mounts: Mounted for reading.
        variables: Set in the container.
        passed: Names of variables that the container gets with their value outside.
    """
    folders = [option for folder in mounts for option in ("--volume", f"{folder}:{folder}:ro")]
    kept = [option for key in passed if key not in ("HOME", "USER", "LOGNAME") for option in ("--env", key)]
    set_here = [option for key, value in ({"HOME": "/tmp"} | variables).items() for option in ("--env", f"{key}={value}")]  # noqa: S108
    identity = ["--user", f"{os.getuid()}:{os.getgid()}", "--network", "host", "--workdir", "/tmp"]  # noqa: S108
    program = ["--entrypoint", command[0]] if command else []
    options = ["--rm", "--init", "--name", name, *identity, "--volume", f"{home}:{home}", *folders, *kept, *set_here, *program]
    return ["docker", "run", *options, image, *command[1:]]
