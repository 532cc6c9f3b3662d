"""What a run did, read from its artifacts, and the few sentences that tell it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intermodal.components.render_report.features import Feature, read_features
from intermodal.components.render_report.wording import LOWER_IS_BETTER, METRICS, finite, interval, number, percent, plural
from intermodal.runtime.artifacts import read_json
from intermodal.runtime.errors import DataError


@dataclass(frozen=True)
class Story:
    """The artifacts of one run, as `docs/design.md` describes them; `deployment` is None when nothing was deployed."""

    title: str
    manifest: dict[str, Any]
    anomalies: dict[str, Any]
    history: dict[str, list[Any]]
    evaluation: dict[str, Any]
    decision: dict[str, Any]
    registration: dict[str, Any]
    deployment: dict[str, Any] | None
    features: list[Feature]

    @property
    def passed(self) -> bool:
        """Whether the gate passed."""
        return bool(self.decision["verdict"] == "passed")

    @property
    def challenger(self) -> dict[str, Any]:
        """The new model's numbers."""
        found: dict[str, Any] = self.evaluation["models"]["challenger"]
        return found

    @property
    def rival(self) -> dict[str, Any] | None:
        """The champion's numbers on the same rows, or None when there was no champion."""
        found: dict[str, Any] | None = self.evaluation["models"].get("champion")
        return found

    @property
    def versions(self) -> tuple[str, str]:
        """What the page calls the new model and the champion."""
        return f"version {_plain(self.registration['version'])}", f"version {_plain(self.champion_version)}"

    @property
    def champion_version(self) -> Any:
        """The version that was champion when the run began, or None."""
        return self.evaluation.get("champion_version")


def read_story(
    *,
    title: str,
    tables: Path,
    statistics: Path,
    anomalies: Path,
    training: Path,
    evaluation: Path,
    decision: Path,
    registration: Path,
    deployment: Path | None,
) -> Story:
    """Read the artifacts of a run, each a directory as the component that writes it leaves it.

    Raises:
        DataError: A file is missing, is not JSON, or lacks what the page cannot do without.
    """
    story = Story(
        title=title,
        manifest=_read(tables / "manifest.json", "tables"),
        anomalies=_read(anomalies / "anomalies.json", "verdict", "anomalies"),
        history=_read(training / "history.json"),
        evaluation=_read(evaluation / "evaluation.json", "models"),
        decision=_read(decision / "decision.json", "verdict", "rules"),
        registration=_read(registration / "registration.json", "name", "version"),
        deployment=_read(deployment / "deployment.json", "url") if deployment else None,
        features=read_features(statistics),
    )
    if "metrics" not in (story.evaluation["models"].get("challenger") or {}):
        raise DataError(f"{evaluation / 'evaluation.json'}: no numbers under models.challenger.metrics; run evaluate_model again")
    return story


def _read(file: Path, *required: str) -> dict[str, Any]:
    found = read_json(file)
    missing = [key for key in required if not isinstance(found, dict) or key not in found]
    if missing or not isinstance(found, dict):
        raise DataError(f"{file}: without {', '.join(map(repr, missing)) or 'an object'}; run the task that writes it again")
    return found


def _plain(version: Any) -> str:
    known = finite(version)
    return str(version) if known is None else f"{known:g}"


def headline(story: Story) -> str:
    """Say in a sentence what became of the model and why."""
    new, old = story.versions
    rules = story.decision["rules"]
    if story.passed:
        place = f" It now serves at {story.deployment['url']}." if story.deployment else " This run deployed nothing."
        standing = "and is the new champion" if story.registration.get("champion") else "but the champion stays as it was"
        return f"{new.capitalize()} passed {_all_of(rules)} of the gate {standing}.{place}"
    failed = [rule for rule in rules if not rule.get("passed")]
    reasons = [rule.get("text") or rule.get("name") for rule in failed] or story.decision.get("reasons") or ["no rule says why"]
    stays = f"{old.capitalize()} stays champion." if story.champion_version is not None else "There is still no champion."
    share = f"{number(len(failed))} of {plural(len(rules), 'rule')}" if failed else "the gate"
    return f"{new.capitalize()} failed {share}: {'; '.join(str(reason).rstrip('.') for reason in reasons)}. {stays}"


def _all_of(rules: Sequence[Any]) -> str:
    return "the only rule" if len(rules) == 1 else f"all {len(rules)} rules"


def comparison(story: Story) -> str:
    """Say how the model did against the champion on the metric that tells them apart best."""
    difference = story.evaluation.get("difference")
    if story.evaluation.get("champion_error"):
        return f"The champion could not score these rows, so nothing was compared: {story.evaluation['champion_error']}"
    if not difference or not story.rival:
        return "There was no champion to compare with: this is the first model that the registry knows under this name."
    metric = next(name for name in ("log_loss", "auc", *difference) if name in difference)
    measure = difference[metric]
    value, low, high = (finite(measure.get(key)) for key in ("value", "low", "high"))
    if value is None:
        return f"{METRICS.get(metric, metric)} could not be compared with the champion's."
    better = value < 0 if metric in LOWER_IS_BETTER else value > 0
    word = ("lower" if value < 0 else "higher") if value else "no different"
    clear = low is not None and high is not None and (low > 0 or high < 0)
    judged = ("better" if better else "worse") if clear else "no clear difference"
    rows = number(story.evaluation.get("rows"))
    return (
        f"On the same {rows} held-out rows {METRICS.get(metric, metric).lower()} is {number(abs(value))} {word} than the champion's "
        f"(paired difference {interval(measure, sign=True)}): {judged}."
    )


def data_verdict(story: Story) -> str:
    """Say what data validation found."""
    found = story.anomalies["anomalies"]
    errors = sum(anomaly.get("severity") == "error" for anomaly in found)
    if not found:
        return "The data hold to the schema: no anomalies."
    warnings = len(found) - errors
    parts = [plural(errors, "error")] * bool(errors) + [plural(warnings, "warning")] * bool(warnings)
    return f"Validation {story.anomalies['verdict']} with {' and '.join(parts)}."


def positives(story: Story) -> str:
    """Write the share of positives among the held-out rows."""
    rows, count = finite(story.evaluation.get("rows")), finite(story.evaluation.get("positives"))
    return percent(count / rows) if rows and count is not None else number(None)
