"""Checks of `validate_data`'s arguments."""

import difflib
from collections.abc import Mapping, Sequence

from intermodal.components.validate_data.kinds import LABEL_KINDS, OWN_KINDS, TFMD_KINDS
from intermodal.runtime.arguments import ArgumentError, in_range, texts, whole_number


def check_arguments(
    *,
    label: str,
    ignored: Sequence[str],
    skew: float | None = None,
    drift: float | None = None,
    feature_skew: Mapping[str, float],
    feature_drift: Mapping[str, float],
    false_alarms: float,
    scale: float,
    outside: float,
    warn: Sequence[str],
    min_domain_mass: float,
    missing: float,
    domain_size: int,
    beam_options: Sequence[str],
) -> None:
    """Raise ArgumentError for a number outside its range, a kind of anomaly that does not exist, or a label that is ignored."""
    texts("ignored", ignored)
    texts("beam_options", beam_options)
    if label and label in ignored:
        raise ArgumentError("ignored", f"it names the label {label!r}; take it out, or name another label")
    in_range("false_alarms", false_alarms, 0, 1, open_low=True, open_high=True)
    in_range("scale", scale, 1, open_low=True)
    for name, value in (("skew", skew), ("drift", drift), ("outside", outside), ("min_domain_mass", min_domain_mass), ("missing", missing)):
        in_range(name, value, 0, 1)
    for name, values in (("feature_skew", feature_skew), ("feature_drift", feature_drift)):
        for feature, value in values.items():
            in_range(f"{name}.{feature}", value, 0, 1)
    whole_number("domain_size", domain_size, 0)
    texts("warn", warn)
    known = [*OWN_KINDS, *TFMD_KINDS]
    for kind in warn:
        if kind in LABEL_KINDS:
            raise ArgumentError("warn", f"{kind} cannot be a warning, for no model can be trained on such a label; take it out")
        if kind not in known:
            near = difflib.get_close_matches(kind, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"give SKEW, DRIFT, or a name of TFMD's AnomalyInfo.Type, for instance {TFMD_KINDS[40]}"
            raise ArgumentError("warn", f"{kind!r} is no kind of anomaly; {hint}")
