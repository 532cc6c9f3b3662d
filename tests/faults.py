"""Run the tests of the fault matrix, once a seed.

.venv/bin/python tests/faults.py SEED|fresh ROUNDS
"""

import os
import secrets
import subprocess
import sys
from pathlib import Path

from conftest import SEED


def main() -> int:
    """Run round after round until one fails; return its status."""
    first = secrets.randbelow(10**9) if sys.argv[1] == "fresh" else int(sys.argv[1])
    for seed in range(first, first + int(sys.argv[2])):
        print(f"fault seed {seed}: `make faults SEED={seed}` repeats this round", flush=True)
        run = Path(__file__).with_name("run.py")
        done = subprocess.run([sys.executable, str(run), "-m", "fault"], env=os.environ | {SEED: str(seed)}, check=False)
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
