"""A run, read from those of its artifacts that there are, and the sentences that sum it up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from intermodal.components.render_report.features import Feature, read_features
from intermodal.drawing.wording import LOWER_IS_BETTER, METRICS, finite, interval, number, percent, plural
from intermodal.runtime.artifacts import read_json
from intermodal.runtime.errors import ConfigurationError, DataError

#: The file of each artifact, and the keys that its section cannot do without.
_FILES: Final = {
    "registration": ("registration.json", ("name", "version")),
    "promotion": ("promotion.json", ("name", "version", "champion")),
    "deployment": ("deployment.json", ("url",)),
    "anomalies": ("anomalies.json", ("verdict", "anomalies")),
    "training": ("history.json", ()),
    "search": ("search.json", ("metric", "maximize", "space", "importance", "trials")),
    "evaluation": ("evaluation.json", ("models",)),
    "decision": ("decision.json", ("verdict", "rules")),
    "tables": ("manifest.json", ("tables",)),
}
#: What `register_model` keeps of the artifacts that it was given.
_REGISTERED: Final = ("statistics", "training", "evaluation", "decision", "tables")


@dataclass(frozen=True)
class Run:
    """The artifacts of one run, as the design says; each is None, and `reproduction`, `features` and `metrics` are empty, where there was none."""

    title: str
    registration: dict[str, Any] | None
    promotion: dict[str, Any] | None
    deployment: dict[str, Any] | None
    anomalies: dict[str, Any] | None
    history: dict[str, list[Any]] | None
    search: dict[str, Any] | None
    evaluation: dict[str, Any] | None
    decision: dict[str, Any] | None
    manifest: dict[str, Any] | None
    reproduction: dict[str, Any]
    features: list[Feature] | None
    metrics: dict[str, float]

    @property
    def passed(self) -> bool | None:
        """Whether the gate passed; None without a decision."""
        return self.decision["verdict"] == "passed" if self.decision else None

    @property
    def registered(self) -> dict[str, Any]:
        """What the registry has of the new model: its version, and the champion before it; empty where neither artifact tells."""
        return {**(self.promotion or {}), **(self.registration or {})}

    @property
    def promoted(self) -> bool:
        """Whether the new model is the champion."""
        return bool((self.promotion or {}).get("champion"))

    @property
    def measured(self) -> dict[str, Any]:
        """The evaluation's numbers; empty without an evaluation."""
        return self.evaluation or {}

    @property
    def challenger(self) -> dict[str, Any]:
        """The new model's numbers."""
        found: dict[str, Any] = self.measured["models"]["challenger"]
        return found

    @property
    def champion(self) -> dict[str, Any] | None:
        """The champion's numbers on the same rows, or None when there was no champion."""
        found: dict[str, Any] | None = self.measured["models"].get("champion")
        return found

    @property
    def name(self) -> str:
        """The model's name, where the run registered or deployed it."""
        return str(self.registered.get("name") or (self.deployment or {}).get("name") or "")

    @property
    def version(self) -> str:
        """The new model's version, where the run registered or deployed it."""
        return _plain(self.registered.get("version") or (self.deployment or {}).get("version") or "")

    @property
    def champion_version(self) -> Any:
        """The version that was champion when the run began, or None."""
        return self.measured.get("champion_version")

    @property
    def versions(self) -> tuple[str, str]:
        """What the page calls the new model and the champion."""
        return (f"version {self.version}" if self.version else "the model"), f"version {_plain(self.champion_version)}"

    @property
    def sections(self) -> dict[str, str]:
        """The page's sections, id to heading, without those whose artifact is not there."""
        there = {
            "champion": ("Champion", self.evaluation),
            "gate": ("Gate", self.decision),
            "quality": ("Quality", self.evaluation),
            "slices": ("Slices", self.evaluation),
            "metrics": ("Metrics", self.metrics or None),
            "search": ("Search", self.search),
            "training": ("Training", self.history),
            "data": ("Data", self.manifest if self.manifest is not None else self.anomalies),
            "features": ("Features", self.features),
            "call": ("Call it", self.deployment or self.registration),
            "lineage": ("Lineage", self.registered or self.manifest or self.decision),
        }
        return {name: heading for name, (heading, artifact) in there.items() if artifact is not None}


def read_run(title: str, given: Mapping[str, Path], metrics: Mapping[str, Any]) -> Run:
    """Read the artifacts of a run, each a directory as the component that writes it leaves it.

    Args:
        title: The page's title.
        given: The artifacts, by the component's names; what `registration` holds stands for those that are not given.
        metrics: Numbers by name.

    Raises:
        ConfigurationError: There is no artifact.
        DataError: A file is missing, is not JSON, or lacks what its section needs.
    """
    numbers = {name: value for name, each in metrics.items() if (value := finite(each)) is not None}
    if not given and not numbers:
        raise ConfigurationError(f"nothing to report: give at least one of {', '.join(sorted([*_FILES, 'statistics', 'metrics']))}")
    folders = dict(given)
    if "registration" in given:
        kept = {name: given["registration"] / ("statistics" if name == "statistics" else _FILES[name][0]) for name in _REGISTERED}
        folders |= {name: path if path.is_dir() else path.parent for name, path in kept.items() if name not in given and path.exists()}
    found = {name: _read(folders[name] / file, required) for name, (file, required) in _FILES.items() if name in folders}
    if "evaluation" in found and "metrics" not in (found["evaluation"]["models"].get("challenger") or {}):
        raise DataError(f"{folders['evaluation'] / 'evaluation.json'}: no numbers under models.challenger.metrics; run evaluate_model again")
    record = folders["training"] / "reproduction.json" if "training" in folders else None
    return Run(
        title=title,
        registration=found.get("registration"),
        promotion=found.get("promotion"),
        deployment=found.get("deployment"),
        anomalies=found.get("anomalies"),
        history=found.get("training"),
        search=found.get("search"),
        evaluation=found.get("evaluation"),
        decision=found.get("decision"),
        manifest=found.get("tables"),
        reproduction=_read(record, ()) if record and record.exists() else {},
        features=read_features(folders["statistics"]) if "statistics" in folders else None,
        metrics=numbers,
    )


def _read(file: Path, required: Sequence[str]) -> dict[str, Any]:
    found = read_json(file)
    missing = [key for key in required if not isinstance(found, dict) or key not in found]
    if missing or not isinstance(found, dict):
        raise DataError(f"{file}: without {', '.join(map(repr, missing)) or 'an object'}; run the task that writes it again")
    return found


def _plain(version: Any) -> str:
    known = finite(version)
    return str(version) if known is None else f"{known:g}"


def headline(run: Run) -> str:
    """Say in a sentence what became of the model and why, or what there is to see."""
    if run.decision:
        return _verdict(run, run.decision)
    if run.registered:
        standing = ["is registered"] * bool(run.registration) + ["is the champion"] * run.promoted
        return f"{run.name} {run.versions[0]} {' and '.join(standing) or 'is not the champion'}.{_place(run)}"
    if run.deployment:
        return f"{run.name or 'The model'}{f' version {run.version}' if run.version else ''} serves at {run.deployment['url']}."
    if run.evaluation:
        metric, measure = next(iter(run.challenger["metrics"].items()), ("", {}))
        rows = number(run.evaluation.get("rows"))
        return f"{METRICS.get(metric, metric)} is {interval(measure)} on {rows} held-out rows." if metric else f"{rows} held-out rows were scored."
    if run.anomalies:
        return data_verdict(run)
    if run.features is not None:
        parts = list(dict.fromkeys(part for feature in run.features for part in feature.shares))
        return f"Statistics of {plural(len(run.features), 'feature')}{f' in {_listed(parts)}' if parts else ''}."
    return ""


def _verdict(run: Run, decision: Mapping[str, Any]) -> str:
    new, old = run.versions
    rules = decision["rules"]
    if run.passed:
        standing = ""
        if run.promotion:
            standing = " and is the new champion" if run.promoted else " but the champion stays as it was"
        return f"{_first_capital(new)} passed {_all_of(rules)} of the gate{standing}.{_place(run)}"
    failed = [rule for rule in rules if not rule.get("passed")]
    missed = "has too little data for" if decision["verdict"] == "too little data" else "failed"
    reasons = [rule.get("text") or rule.get("name") for rule in failed] or decision.get("reasons") or ["no rule says why"]
    stays = f"{_first_capital(old)} stays champion." if run.champion_version is not None else "There is still no champion."
    share = f"{number(len(failed))} of {plural(len(rules), 'rule')}" if failed else "the gate"
    return f"{_first_capital(new)} {missed} {share}: {'; '.join(str(reason).rstrip('.') for reason in reasons)}. {stays}"


def _place(run: Run) -> str:
    if run.deployment:
        return f" It now serves at {run.deployment['url']}."
    return " This run deployed nothing." if run.registration else ""


def _first_capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _all_of(rules: Sequence[Any]) -> str:
    return "the only rule" if len(rules) == 1 else f"all {len(rules)} rules"


def comparison(run: Run) -> str:
    """Say how the model compares with the champion on the metric that shows differences best."""
    if not run.evaluation:
        return ""
    difference = run.evaluation.get("difference")
    if run.evaluation.get("champion_error"):
        return f"The champion could not score these rows, so nothing was compared: {run.evaluation['champion_error']}"
    if not difference or not run.champion:
        return "There was no champion to compare with" + (": this is the first model registered under this name." if run.registration else ".")
    metric = next(name for name in ("log_loss", "auc", *difference) if name in difference)
    measure = difference[metric]
    value, low, high = (finite(measure.get(key)) for key in ("value", "low", "high"))
    if value is None:
        return f"{METRICS.get(metric, metric)} could not be compared with the champion's."
    better = value < 0 if metric in LOWER_IS_BETTER else value > 0
    word = ("lower" if value < 0 else "higher") if value else "no different"
    clear = low is not None and high is not None and (low > 0 or high < 0)
    judged = ("better" if better else "worse") if clear else "no clear difference"
    rows = number(run.evaluation.get("rows"))
    known = finite((run.evaluation.get("left_out") or {}).get("champion"))
    left_out = f" {plural(int(known), 'row')} that the champion was trained on {'is' if known == 1 else 'are'} left out." if known else ""
    before = int(finite(((run.decision or {}).get("window") or {}).get("use")) or 1) - 1
    again = f" These rows, or some of them, judged {plural(before, 'other model')} before." if before > 0 else ""
    return (
        f"On the same {rows} held-out rows {METRICS.get(metric, metric).lower()} is {number(abs(value))} {word} than the champion's "
        f"(paired difference {interval(measure, sign=True)}): {judged}.{left_out}{again}"
    )


def data_verdict(run: Run) -> str:
    """Say what data validation found."""
    if not run.anomalies:
        return ""
    found = run.anomalies["anomalies"]
    errors = sum(anomaly.get("severity") == "error" for anomaly in found)
    if not found:
        return "The data conforms to the schema: no anomalies."
    warnings = len(found) - errors
    parts = [plural(errors, "error")] * bool(errors) + [plural(warnings, "warning")] * bool(warnings)
    return f"Validation {run.anomalies['verdict']} with {' and '.join(parts)}."


def positives(run: Run) -> str:
    """Write the share of positives among the held-out rows."""
    rows, count = finite(run.measured.get("rows")), finite(run.measured.get("positives"))
    return percent(count / rows) if rows and count is not None else number(None)


def summary(run: Run) -> str:
    """Return the page's first lines and its metrics as Markdown, for a page that shows no HTML."""
    lines = [f"# {_escaped(run.title)}", *(_escaped(each) for each in dict.fromkeys((headline(run), comparison(run), data_verdict(run))) if each)]
    measures = [(METRICS.get(name, name), interval(measure)) for name, measure in run.challenger["metrics"].items()] if run.evaluation else []
    rows = measures + [(METRICS.get(name, name), number(value)) for name, value in run.metrics.items()]
    if rows:
        lines.append("\n".join(["| Metric | Value |", "|---|---|", *(f"| {_escaped(name)} | {value} |" for name, value in rows)]))
    return "\n\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Return a text in which Markdown and HTML mean nothing."""
    return " ".join("".join(f"\\{each}" if each in "\\`*_[]<>#|&" else each for each in text).split())
