"""The machine the command runs on: what it has of what the project needs."""

import os
import platform
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        name: What was looked at.
        ok: Whether it is as needed.
        required: Whether a local run needs it.
        text: What was found.
        remedy: How to get it.
    """

    name: str
    ok: bool
    required: bool
    text: str
    remedy: str = ""


def inspect_machine() -> list[Finding]:
    """Look at this machine; reads only, changes nothing."""
    return [_system(), _python(), _tfdv(), _tool("uv"), _tool("git", required=False), _memory(), _disk(), _port(8080), _docker(), _gpu(), _cluster()]


def _system() -> Finding:
    found = f"{platform.system()} {platform.machine()}"
    return Finding(
        "system", found == "Linux x86_64", True, found, "the locked environments are for Linux x86_64: use such a machine, or a container of one"
    )


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", (3, 11) <= sys.version_info[:2] < (3, 14), True, version, "install Python 3.11, 3.12 or 3.13: apt-get install python3")


def _tfdv() -> Finding:
    name, libc = platform.libc_ver()
    old = tuple(map(int, libc.split("."))) < (2, 39) if libc else True
    ok = name == "glibc" and not (old and sys.version_info >= (3, 12))
    remedy = "TensorFlow Data Validation has wheels for Python 3.11, or for glibc 2.39 and later (Debian 13, Ubuntu 24.04): use Python 3.11 here"
    return Finding("data validation", ok, True, f"{name or 'unknown libc'} {libc} with Python {sys.version_info[0]}.{sys.version_info[1]}", remedy)


def _tool(name: str, *, required: bool = True) -> Finding:
    path = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]))
    return Finding(
        name, path is not None, required, path or "not on PATH", f"python3 -m pip install {name}" if name == "uv" else f"apt-get install {name}"
    )


def _memory() -> Finding:
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return Finding("memory", gib >= 3.5, True, f"{gib:.1f} GiB", "the flights example needs about 4 GiB")


def _disk() -> Finding:
    gib = shutil.disk_usage(".").free / 2**30
    return Finding(
        "disk", gib >= 6, True, f"{gib:.1f} GiB free here", "the five environments take about 5 GiB: free some space, or work on another disk"
    )


def _port(port: int) -> Finding:
    with socket.socket() as probe:
        probe.settimeout(1)
        taken = probe.connect_ex(("127.0.0.1", port)) == 0
    remedy = "`intermodal serve` tells if it is ours; otherwise run with --set serving.local.port=8081"
    return Finding(f"port {port}", not taken, False, "answers already" if taken else "free", remedy)


def _docker() -> Finding:
    remedy = "only `intermodal run --docker` needs it: install Docker Engine and start its daemon"
    if not shutil.which("docker"):
        return Finding("docker", False, False, "not on PATH", remedy)
    try:
        asked = subprocess.run(["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        return Finding("docker", False, False, "the daemon does not answer", remedy)
    return Finding("docker", asked.returncode == 0, False, asked.stdout.strip() or "no daemon answers", remedy)


def _gpu() -> Finding:
    found = sorted(Path("/proc/driver/nvidia/gpus").glob("*"))
    return Finding("gpu", bool(found), False, f"{len(found)} NVIDIA" if found else "none", "not needed: training runs on the processor")


def _cluster() -> Finding:
    path = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    return Finding("kubernetes", Path(path).exists(), False, path, "only the cluster tests need one: set KUBECONFIG")
