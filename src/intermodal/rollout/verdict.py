"""What a look at both models says."""

from dataclasses import dataclass
from typing import Literal

Decision = Literal["promote", "roll back", "too little data"]


@dataclass(frozen=True)
class Verdict:
    """One look at the candidate beside the stable model.

    Attributes:
        decision: `promote`: no harm, and enough requests to have seen it.
        reasons: Sentences with the numbers behind it, the weightiest first.
    """

    decision: Decision
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "; ".join(self.reasons) or self.decision
