"""What the data is held to, beside its schema."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from tensorflow_metadata.proto.v0 import anomalies_pb2

from intermodal.runtime.errors import ConfigurationError

#: Kinds of anomaly that TFDV does not know. The rest are the names of `tensorflow_metadata`'s `AnomalyInfo.Type`.
OWN_KINDS = ("SKEW", "DRIFT", "NO_ROWS", "UNSUPPORTED_TYPE", "IGNORED_MISSING", "LABEL_MISSING", "LABEL_NULLS", "LABEL_ONE_CLASS", "LABEL_VALUES")


@dataclass(frozen=True)
class Rules:
    """The keys of the parameter `rules`, all optional.

    Attributes:
        skew: The distance between a part and `train` above which a feature is an anomaly: one number, or a number for each feature named
            (the others are calibrated). Empty: calibrated per feature (see `distances.calibrate`).
        drift: The same between `train` and the baseline's `train`.
        warn: The kinds of anomaly that are reported and do not stop the run, in place of the default SKEW and DRIFT: windows of time always
            differ. Label problems always stop it.
        evolve: Whether columns and categories that are new in `train` extend a kept schema (default) instead of being anomalies.
        min_domain_mass: The share of a categorical feature's values that must be known from `train`, default 0.9; some unknown values above
            that share are a warning.
        missing: How far the share of rows without a value may rise above its highest in any block of `train`, default 0.1.
        domain_size: Text with at most this many different values in `train` is categorical, default 100.
    """

    skew: float | Mapping[str, float] = field(default_factory=dict)
    drift: float | Mapping[str, float] = field(default_factory=dict)
    warn: tuple[str, ...] = ("SKEW", "DRIFT")
    evolve: bool = True
    min_domain_mass: float = 0.9
    missing: float = 0.1
    domain_size: int = 100

    @classmethod
    def parse(cls, rules: Mapping[str, Any]) -> Self:
        """Make rules of a parameter's value.

        Raises:
            ConfigurationError: A key is unknown or a value is of the wrong type or out of range; the message says which was meant.
        """
        for key in rules:
            _known(key, [f.name for f in fields(cls)], "rules", "key")
        parsed = dict(rules)
        for key in ("skew", "drift"):
            if key in rules:
                parsed[key] = _thresholds(key, rules[key])
        for key in ("min_domain_mass", "missing"):
            if key in rules:
                parsed[key] = _number(f"rules.{key}", rules[key], most=1.0)
        if "domain_size" in rules:
            parsed["domain_size"] = int(_number("rules.domain_size", rules["domain_size"]))
        if not isinstance(parsed.get("evolve", True), bool):
            raise ConfigurationError(f"rules.evolve is {rules['evolve']!r}; give true or false")
        if "warn" in rules:
            parsed["warn"] = _kinds(rules["warn"])
        return cls(**parsed)

    def check_features(self, features: Iterable[str]) -> None:
        """Refuse thresholds for features that are not there.

        Raises:
            ConfigurationError: The message says which feature was meant.
        """
        for comparison in ("skew", "drift"):
            thresholds: float | Mapping[str, float] = getattr(self, comparison)
            for feature in thresholds if isinstance(thresholds, Mapping) else ():
                _known(feature, features, f"rules.{comparison}", "feature")

    def given(self, comparison: str, feature: str) -> float | None:
        """Return the threshold given for a feature's `skew` or `drift`, or None when it is to be calibrated."""
        thresholds: float | Mapping[str, float] = getattr(self, comparison)
        return thresholds.get(feature) if isinstance(thresholds, Mapping) else thresholds


def _kinds(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise ConfigurationError(f"rules.warn is {value!r}; give a list of kinds of anomaly, for instance ['SKEW', 'DRIFT']")
    for kind in value:
        if str(kind).startswith("LABEL_"):
            raise ConfigurationError(f"rules.warn names {kind}: a model cannot be trained on such a label, so that always stops the run; take it out")
        _known(str(kind), [*OWN_KINDS, *anomalies_pb2.AnomalyInfo.Type.keys()], "rules.warn", "kind of anomaly")
    return tuple(value)


def _thresholds(key: str, value: Any) -> float | dict[str, float]:
    if isinstance(value, Mapping):
        return {str(feature): _number(f"rules.{key}.{feature}", number, most=1.0) for feature, number in value.items()}
    return _number(f"rules.{key}", value, most=1.0)


def _number(where: str, value: Any, most: float = float("inf")) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise ConfigurationError(f"{where} is {value!r}; give a number from 0" + (f" to {most:g}" if most < float("inf") else " up"))
    return float(value)


def _known(name: str, names: Iterable[str], where: str, what: str) -> None:
    names = list(names)
    if name in names:
        return
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
    raise ConfigurationError(f"{where} has no {what} {name!r}; {hint}")
