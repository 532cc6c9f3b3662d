"""How busy this worker's processors and GPUs are while it trains."""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

_SECONDS: Final = 2
#: Percent of the time in which a kernel ran; MiB in use; MiB.
_QUERIED: Final = ("utilization.gpu", "memory.used", "memory.total")
#: Where Google Kubernetes Engine mounts the driver's programs.
_GKE: Final = "/usr/local/nvidia/bin"


class Utilisation:
    """Shares, from 0 to 1, of what there is; made by `watched`.

    Attributes:
        numbers: `cpu_utilisation`: processor seconds of this process, divided by the seconds that passed and the processors that it may use.
            Where there are GPUs of NVIDIA, `gpu_utilisation`: share of the time in which kernels ran on them, their average; `gpu_memory`: the
            largest share of a GPU's memory in use, by all processes.
    """

    def __init__(self) -> None:
        self.numbers: dict[str, float] = {}


@contextmanager
def watched() -> Iterator[Utilisation]:
    """Give the utilisation during the block; its numbers are there when the block has ended."""
    found = Utilisation()
    began, spent = time.monotonic(), time.process_time()
    with _Gpus() as gpus:
        yield found
    passed = time.monotonic() - began
    if passed > 0:
        found.numbers["cpu_utilisation"] = round((time.process_time() - spent) / passed / len(os.sched_getaffinity(0)), 4)
    found.numbers |= gpus.numbers()


class _Gpus:
    """Reads what `nvidia-smi` prints of the GPUs that this process may use, in a thread."""

    def __init__(self) -> None:
        self._used: list[float] = []
        self._memory: list[float] = []
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "_Gpus":
        program = shutil.which("nvidia-smi") or shutil.which("nvidia-smi", path=_GKE)
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if not program or visible in ("", "-1"):
            return self
        chosen = [f"--id={visible}"] if visible else []
        command = [program, f"--query-gpu={','.join(_QUERIED)}", "--format=csv,noheader,nounits", f"--loop={_SECONDS}", *chosen]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self._thread = threading.Thread(target=self._read, args=(self._process.stdout,), name="utilisation", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait()
            self._thread.join(5)

    def numbers(self) -> dict[str, float]:
        if not self._used:
            return {}
        return {"gpu_utilisation": round(sum(self._used) / len(self._used), 4), "gpu_memory": round(max(self._memory), 4)}

    def _read(self, lines: Iterable[str]) -> None:
        for line in lines:
            if found := parsed(line):
                self._used.append(found[0])
                self._memory.append(found[1])


def parsed(line: str) -> tuple[float, float] | None:
    """Return the shares of time and of memory that a line of `nvidia-smi` says are in use; None where it says neither (`[N/A]`, an error)."""
    try:
        used, memory, size = (float(each) for each in line.split(","))
    except ValueError:
        return None
    return (used / 100, memory / size) if size else None
