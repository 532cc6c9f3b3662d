"""The plan of a rollout: which share of the requests the candidate gets, and when."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from intermodal.runtime.arguments import ArgumentError, in_range, one_of

STRATEGIES: Final = ("direct", "canary", "blue-green", "shadow", "ab")
_ALL: Final = 100


@dataclass(frozen=True)
class Step:
    """What the candidate gets during one step.

    Attributes:
        weight: Per cent of the requests that it answers.
        mirror: Per cent of the requests that are copied to it; its answers are compared and not returned.
        header: Name and value of a header whose requests it answers, whatever `weight` says; empty: none.
    """

    weight: int = 0
    mirror: int = 0
    header: tuple[str, str] | tuple[()] = ()

    def __str__(self) -> str:
        if self.header:
            return f"requests with {': '.join(self.header)}"
        return f"{self.mirror} % copied" if self.mirror else f"{self.weight} %"


@dataclass(frozen=True)
class Plan:
    """A strategy as steps.

    Attributes:
        strategy: One of `STRATEGIES`.
        steps: Each is judged before the next; after the last one the candidate has all requests. None: all at once.
        bake: Seconds that a step lasts at least.
        deadline: Seconds until a step whose judge has too little data is rolled back; 0: never.
        keep: Whether the model before stays loaded, so that a rollback takes no start.
    """

    strategy: str
    steps: tuple[Step, ...]
    bake: float
    deadline: float
    keep: bool

    @classmethod
    def of(cls, *, strategy: str, weights: Sequence[int], bake: float, deadline: float, header: str = "", keep: bool = True) -> "Plan":
        """Return the plan of a strategy.

        Args:
            strategy: One of `STRATEGIES`.
            weights: `canary`: the shares in per cent, which rise to 100.
            bake: Seconds that a step lasts at least.
            deadline: Seconds until a step without enough data is rolled back; no less than `bake`.
            header: `ab`: `NAME: VALUE` of the requests that the candidate answers.
            keep: Whether the model before stays loaded.

        Raises:
            ArgumentError: A value is out of range, or one is missing that the strategy needs.
        """
        one_of("strategy", strategy, STRATEGIES)
        in_range("bake", bake, 0)
        in_range("deadline", deadline, bake, open_low=False)
        if strategy == "direct":
            return cls(strategy, (), bake, deadline, keep)
        made: Mapping[str, Any] = {
            "canary": lambda: tuple(Step(weight=weight) for weight in _rising(weights)[:-1]),
            "blue-green": lambda: (Step(weight=_ALL),),
            "shadow": lambda: (Step(mirror=_ALL),),
            "ab": lambda: (Step(header=_header(header)),),
        }
        # Requests are led by a header until somebody decides: no deadline ends that.
        return cls(strategy, made[strategy](), bake, 0.0 if strategy == "ab" else deadline, keep)

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> "Plan":
        """Return the plan that `dataclasses.asdict` wrote, after JSON."""
        steps = tuple(Step(each["weight"], each["mirror"], tuple(each["header"])) for each in content["steps"])
        return cls(**{**content, "steps": steps})


def _rising(weights: Sequence[int]) -> list[int]:
    """Return the weights of a canary.

    Raises:
        ArgumentError: They do not rise to 100.
    """
    known = [int(each) for each in weights if isinstance(each, int | float) and not isinstance(each, bool) and each == int(each)]
    rise = len(known) == len(weights) and all(low < high for low, high in zip([0, *known], known, strict=False))
    if not rise or len(known) < 2 or known[-1] != _ALL:
        raise ArgumentError("weights", f"{list(weights)!r} must be whole per cents that rise to 100, two at least: [5, 25, 50, 100]")
    return known


def _header(text: str) -> tuple[str, str]:
    """Return name and value of a header.

    Raises:
        ArgumentError: It is not written `NAME: VALUE`.
    """
    name, colon, value = (part.strip() for part in text.partition(":"))
    if not (name and colon and value) or not name.isascii() or any(each in name for each in ' \t"(),/:;<=>?@[\\]{}'):
        raise ArgumentError("header", f"{text!r}: the strategy ab needs a header, written NAME: VALUE (X-Variant: candidate)")
    return name, value
