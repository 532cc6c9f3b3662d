"""Score the held-out part with a model and the champion, and measure both on the same rows."""

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from intermodal.components.evaluate_model.arguments import check_arguments
from intermodal.components.evaluate_model.measures import confusion, measure
from intermodal.evaluation.intervals import Floats, group_blocks, interval
from intermodal.evaluation.windows import window_name
from intermodal.inference.raw_rows import binary_labels
from intermodal.inference.scoring import Scorer, score_rows
from intermodal.inference.stored_files import model_hash
from intermodal.inference.trained_rows import rows_trained_on
from intermodal.runtime.artifacts import read_json, whole_directory, write_json
from intermodal.runtime.datasets import open_dataset
from intermodal.runtime.errors import DataError

SMOKE_ROWS = 5
#: Between the columns of a slice by several.
CROSS = "*"


@dataclass(frozen=True)
class Evaluated:
    """What the platforms' own views take: metrics; (fpr, tpr, thresholds); (categories, matrix)."""

    metrics: dict[str, float]
    roc: tuple[list[float], list[float], list[float]]
    confusion: tuple[list[str], list[list[int]]]


def evaluate_model(
    *,
    model_path: str,
    examples_path: str,
    label: str,
    champion_path: str | None,
    part: str,
    block: str,
    slices: list[str],
    seed: int,
    evaluation_path: str,
    predictions_path: str,
    metrics_path: str,
) -> Evaluated:
    """Measure a model and the champion on a part. See the component's contract.

    A champion that cannot score these rows (a column it takes is gone) is named in `champion_error`, and is not compared; a reference likewise.

    Raises:
        ConfigurationError: An argument is wrong.
        DataError: The model or the examples cannot be read, or the label is not 0 and 1.
    """
    check_arguments(label=label, slices=slices)
    table = _read(examples_path, part)
    rows = f"the part {part!r}" if part else "the examples"
    crossed = {name: [part.strip() for part in name.split(CROSS)] for name in slices}
    columns = [label, *([block] if block else []), *(part for parts in crossed.values() for part in parts)]
    absent = [name for name in dict.fromkeys(columns) if name not in table.column_names]
    if absent:
        raise DataError(f"{rows}: no column {', '.join(absent)}; there are {', '.join(table.column_names)}")
    champion_model, version = _champion(Path(champion_path) if champion_path else None)
    reference_model, reference_version = _reference(Path(champion_path) if champion_model and champion_path else None)
    table, left_out, errors = _unseen(table, Path(model_path), {"champion": champion_model, "reference": reference_model}, rows)
    truth = binary_labels(table, label, part or "all").astype(np.float64)
    named, ordered = _blocks(table, block, rows)
    blocks = group_blocks(named, ordered=ordered, seed=int(seed))
    groups = {name: _groups(table, parts) for name, parts in crossed.items()}
    scorer = Scorer(Path(model_path), table, label)
    challenger = scorer.score(table)
    scores: dict[str, Floats] = {}
    for name, model in (("champion", champion_model), ("reference", reference_model)):
        if model and name not in errors:
            try:
                scores[name] = score_rows(model, table, label)
            except DataError as error:
                errors[name] = str(error)
    champion = scores.get("champion")
    first, own = measure(truth, challenger, blocks, groups)
    second, difference = None, None
    if champion is not None:
        second, against = measure(truth, champion, blocks, groups)
        difference = {name: interval(own[name] - against[name], blocks) for name in own}
    evaluation = {
        "model_sha256": model_hash(Path(model_path)),
        "part": part,
        "window": window_name(named, truth, ordered=ordered),
        "rows": len(truth),
        "left_out": left_out,
        "positives": int(truth.sum()),
        "blocks": blocks.count,
        "ordered": blocks.ordered,
        "seed": int(seed),
        "models": {"challenger": first, "champion": second},
        "difference": difference,
        "champion_version": version,
        "reference_version": reference_version,
        "champion_error": errors.get("champion"),
        "reference_error": errors.get("reference"),
    }
    others = {name: pa.array(scores[name]) if name in scores else pa.nulls(len(truth), pa.float64()) for name in ("champion", "reference")}
    predictions = pa.table({"label": truth.astype(np.int8), "block": named.astype(str), **groups, "challenger": challenger, **others})
    with whole_directory(predictions_path) as folder, whole_directory(evaluation_path) as written:
        pq.write_table(predictions, folder / "predictions.parquet")
        write_json(written / "evaluation.json", evaluation)
        write_json(written / "smoke.json", _smoke(scorer.columns, table, challenger))
    metrics = {name: each["value"] for name, each in first["metrics"].items() if each["value"] is not None}
    write_json(metrics_path, metrics)
    at_half = confusion(truth, challenger, 0.5)
    false, true, thresholds = ([point[place] for point in first["roc"]] for place in range(3))
    return Evaluated(metrics, (false, true, thresholds), (["0", "1"], [[at_half["tn"], at_half["fp"]], [at_half["fn"], at_half["tp"]]]))


def _read(examples_path: str, part: str) -> pa.Table:
    with open_dataset(examples_path) as examples:
        if part:
            return examples.with_held_out().read(part)
        return pa.concat_tables([examples.read(split) for split in examples.splits], promote_options="permissive")


def _champion(path: Path | None) -> tuple[Path | None, str | None]:
    """Return the champion's model and its version; None without one."""
    if path is None:
        return None, None
    if not (path / "champion.json").is_file():
        return path, "given"
    version = read_json(path / "champion.json").get("version")
    return (None, None) if version is None else (path / "model", str(version))


def _reference(champion: Path | None) -> tuple[Path | None, str | None]:
    """Return the model of the reference and its version, where `fetch_champion` brought one that is not the champion; else None."""
    if champion is None or not (champion / "reference").is_dir():
        return None, None
    return champion / "reference", str(read_json(champion / "champion.json").get("reference_version"))


def _unseen(table: pa.Table, model: Path, others: dict[str, Path | None], rows: str) -> tuple[pa.Table, dict[str, int | None], dict[str, str]]:
    """Leave out the rows that a model was trained on, on which it looks better than it is.

    Args:
        table: Of the rows.
        model: That is measured.
        others: By name, what it is compared with.
        rows: What the rows are called.

    Returns:
        The other rows; how many each model was trained on (None: it does not tell); why one cannot be compared.

    Raises:
        DataError: The model that is measured was trained on all rows.
    """
    own = rows_trained_on(model, table)
    counts = {"challenger": None if own is None else int(own.sum())}
    seen = np.zeros(table.num_rows, bool) if own is None else own
    if table.num_rows and seen.all():
        raise DataError(
            f"{rows}: the model was trained on every one of its {len(seen)} rows, so they cannot measure it; give rows that were held out"
        )
    errors: dict[str, str] = {}
    for name, other in others.items():
        if other is None and name != "champion":
            continue
        known = rows_trained_on(other, table) if other else None
        counts[name] = None if known is None else int(known.sum())
        if known is None:
            continue
        if table.num_rows and (seen | known).all():
            others_were_not = f"it was trained on every row of {rows} that the other models were not"
            errors[name] = f"{others_were_not}, so nothing is left to compare on; evaluate on newer rows"
        else:
            seen = seen | known
    if seen.any():
        told = " and ".join(f"{count} by the {name}" for name, count in counts.items() if count)
        sys.stdout.write(f"{int(seen.sum())} of {len(seen)} rows of {rows} are left out: a model was trained on them ({told})\n")
        table = table.filter(pa.array(~seen))
    return table, counts, errors


def _groups(table: pa.Table, columns: list[str]) -> NDArray[np.object_]:
    """Return the slice of each row: the column's value, or those of several columns."""
    texts = [pc.fill_null(table.column(name).cast(pa.string()), "").to_pylist() for name in columns]
    return np.asarray([f" {CROSS} ".join(each) for each in zip(*texts, strict=True)], dtype=object)


def _blocks(table: pa.Table, block: str, rows: str) -> tuple[NDArray[Any], bool]:
    """Return the block of each row, and whether blocks are in the order of time."""
    if not block:
        return np.arange(table.num_rows), False
    column = table.column(block)
    if column.null_count:
        raise DataError(f"block {block!r} is null in {column.null_count} rows of {rows}; fill it or name another column")
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return np.asarray(column.cast(pa.timestamp("us"), safe=False).to_numpy().astype("datetime64[D]").astype(str)), True
    return np.asarray(column.cast(pa.string()).to_pylist()), False


def _smoke(columns: list[str], table: pa.Table, scores: Floats) -> dict[str, Any]:
    """Return rows spread over the range of scores, as JSON, with the probabilities they must give."""
    order = np.argsort(scores, kind="stable")
    rows = np.unique(order[np.linspace(0, len(order) - 1, SMOKE_ROWS).round().astype(int)])
    instances = [{name: _plain(value) for name, value in row.items()} for row in table.select(columns).take(pa.array(rows)).to_pylist()]
    return {"instances": instances, "probabilities": [float(scores[row]) for row in rows]}


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
