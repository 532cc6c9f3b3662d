"""One worker process of this machine: calls a function, and writes what it returned or the error that it raised.

    python -m intermodal.workers.replica

The call comes on standard input as JSON: `function` (`module:name`), `arguments`, `result` (the file to write) and `parent` (the process
with which this one ends).
"""

import ctypes
import importlib
import json
import os
import signal
import sys
import traceback
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from intermodal.runtime.errors import IntermodalError

_PR_SET_PDEATHSIG: Final = 1


def main() -> int:
    """Run the call; return 0. An error ends the process with status 1."""
    call = json.load(sys.stdin)
    # The kernel kills this process when the parent dies, however that dies.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != call["parent"]:
        return 1
    module, _, name = call["function"].partition(":")
    try:
        value = getattr(importlib.import_module(module), name)(**call["arguments"])
    except IntermodalError as error:
        _write(call["result"], {"error": type(error).__name__, "message": str(error)})
        _leave()
    except Exception:
        traceback.print_exc()
        _leave()
    _write(call["result"], {"value": asdict(value) if is_dataclass(value) and not isinstance(value, type) else value})
    return 0


def _leave() -> NoReturn:
    """End at once, with status 1: at a usual exit JAX waits minutes for the other workers, and these for this one."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def _write(path: str, content: Any) -> None:
    scratch = Path(f"{path}.partial")
    scratch.write_text(json.dumps(content), encoding="utf-8")
    scratch.replace(path)


if __name__ == "__main__":
    sys.exit(main())
