"""How far a training is, said in its log."""

import re
import sys
import time
from typing import Final

_SECONDS_BETWEEN_LINES: Final = 10.0
_LINE: Final = re.compile(r"^epoch (\d+)/(\d+)(?:, step (\d+)/(\d+))?: .*", re.M)


class Progress:
    """Lines on standard output: one an epoch, and one every ten seconds within it.

    Args:
        spoken: Whether anything is said; only the chief speaks.
        rows: Rows of an epoch.
    """

    def __init__(self, spoken: bool, rows: int) -> None:
        self._spoken, self._rows = spoken, rows
        self._said = self._began = time.monotonic()
        self._made = 0
        self._epochs = self._ended = 0

    def step(self, epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
        """Say that a step of an epoch, both from 1, is made, if nothing was said for ten seconds.

        Args:
            epoch: The epoch.
            epochs: How many there are at most.
            step: The step.
            steps: How many an epoch has.
            loss: The epoch's average so far.
        """
        now, self._epochs = time.monotonic(), epochs
        place = (epoch - 1) * steps + step
        if not self._made:
            self._made, self._began = place, now  # the first call compiles: it is no measure of the others
        if now - self._said < _SECONDS_BETWEEN_LINES or place == self._made:
            return
        each = (now - self._began) / (place - self._made)
        left = each * (epochs * steps - place)
        self._say(
            f"epoch {epoch}/{epochs}, step {step}/{steps}: loss {loss:.4f}, {self._rows / steps / each:,.0f} rows/s, at most {duration(left)} left"
        )

    def epoch(self, epoch: int, numbers: dict[str, float], seconds: float) -> None:
        """Say the numbers of an epoch, from 1, that has ended after some seconds."""
        written = ", ".join(f"{name} {value:.4f}" for name, value in numbers.items())
        epochs, self._ended = self._epochs or epoch, self._ended + 1
        # The first one compiles, or had begun in an earlier attempt: it is no measure of the others.
        left = f", at most {duration((epochs - epoch) * seconds)} left" if self._ended > 1 and epoch < epochs else ""
        self._say(f"epoch {epoch}/{epochs}: {written}; {seconds:.1f} s, {self._rows / max(seconds, 1e-9):,.0f} rows/s{left}")

    def _say(self, line: str) -> None:
        self._said = time.monotonic()
        if self._spoken:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


def last_progress(log: str) -> tuple[float, str] | None:
    """Return the share of a training that is done, from 0 to 1, and the line that says so, the last one in its log; None where there is none."""
    lines = [*_LINE.finditer(log)]
    if not lines:
        return None
    found = lines[-1]
    epoch, epochs, step, steps = (int(each or 0) for each in found.groups())
    done = epoch - 1 + step / max(steps, 1) if steps else epoch
    return min(1.0, done / max(epochs, 1)), found[0]


def duration(seconds: float) -> str:
    """Return seconds as a person would say them: `40 s`, `3 min`, `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
