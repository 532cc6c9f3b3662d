"""What one rule of the gate comes to."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

PASSED: Final = "passed"
BLOCKED: Final = "blocked"
TOO_LITTLE_DATA: Final = "too little data"

#: How sentences call the metrics.
TITLES: Final = {
    "auc": "AUC",
    "pr_auc": "PR-AUC",
    "log_loss": "log loss",
    "brier": "Brier score",
    "accuracy": "accuracy",
    "ece": "expected calibration error",
}


@dataclass(frozen=True)
class Outcome:
    """The outcome of a rule.

    Attributes:
        name: The rule.
        verdict: `passed`, `blocked` or `too little data`.
        text: Why, in a sentence, with what would change it.
        value: The number that was judged.
        bound: What it was judged against.
        low: Lower end of the number's interval.
        high: Upper end.
        unjudged: Slices that were not judged, each with the reason.
    """

    name: str
    verdict: str
    text: str
    value: float | None = None
    bound: float | None = None
    low: float | None = None
    high: float | None = None
    unjudged: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as `decision.json` has it."""
        return {
            "name": self.name,
            "verdict": self.verdict,
            "passed": self.verdict == PASSED,
            "text": self.text,
            "value": self.value,
            "bound": self.bound,
            "interval": [self.low, self.high],
            "unjudged": [{"slice": name, "why": why} for name, why in self.unjudged],
        }


def verdict_of(outcomes: Sequence[Outcome]) -> str:
    """Return what all rules come to: blocked where any blocks, else too little data where any has too little, else passed."""
    return next((each for each in (BLOCKED, TOO_LITTLE_DATA) if any(outcome.verdict == each for outcome in outcomes)), PASSED)


def percent(confidence: float) -> str:
    """Return a confidence below 1 as text, with as many digits as it takes not to read 100 %."""
    return f"{confidence:.{max(1, math.floor(-math.log10(1 - confidence)) - 1)}%}"
