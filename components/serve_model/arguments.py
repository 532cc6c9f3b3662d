"""Checks of `serve_model`'s arguments."""

import re
from collections.abc import Mapping, Sequence

from intermodal.rollout.judging.limits import judge_settings
from intermodal.rollout.plan import Plan
from intermodal.runtime.arguments import ArgumentError, in_range, not_empty


def check_arguments(
    *,
    name: str,
    port: int,
    timeout: float,
    tolerance: float,
    deployments: str,
    strategy: str,
    weights: Sequence[int],
    header: str,
    bake: float,
    deadline: float,
    keep_previous: bool,
    minimum_requests: int,
    warm_up: float,
    tolerated: Mapping[str, float],
    harm: Mapping[str, float],
    false_alarm: float,
    missed: float,
) -> None:
    """Raise ConfigurationError for a name or a number that no server takes, and for a rollout that cannot be."""
    Plan.of(strategy=strategy, weights=weights, bake=bake, deadline=deadline, header=header, keep=keep_previous)
    judge_settings(tolerated, harm, false_alarm=false_alarm, missed=missed, minimum_requests=minimum_requests, warm_up=warm_up, bake=bake)
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name):
        raise ArgumentError("name", f"{name!r}: use lowercase letters, digits and hyphens")
    in_range("port", port, 1, 65535)
    in_range("timeout", timeout, 0, open_low=True)
    in_range("tolerance", tolerance, 0)
    not_empty("deployments", deployments)
