"""Contract of `gate_model`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="train")
def gate_model(
    evaluation: dsl.Input[dsl.Artifact],
    decision: dsl.Output[dsl.Artifact],
    predictions: dsl.Input[dsl.Dataset] = None,
    minimum: dict = {},
    maximum: dict = {},
    metric: str = "log_loss",
    tolerance: float = 0.0,
    confidence: float = 0.95,
    slice_minimum_rows: int = 200,
    slice_maximum_drop: float = 0.05,
    incomparable: str = "block",
    seed: int = 0,
) -> bool:
    """Decide whether a model may replace the champion, and write down why.

    Args:
        evaluation: A directory with `evaluation.json`, as `evaluate_model` writes it, or with `models.challenger.metrics` alone: metric to `value`
            and, where known, `low` and `high`.
        decision: A directory: `decision.json`: verdict, each rule with its numbers and outcome in words, why there was no
            comparison with a champion (`uncompared`), the inputs' hashes.
        predictions: As `evaluate_model` writes them. Without them, or where the evaluation has no champion, only `minimum` and `maximum` count.
        minimum: Metric to the least it may be. Metrics: auc, pr_auc, log_loss, brier, accuracy.
        maximum: Metric to the most it may be.
        metric: The metric in which the model is compared with the champion, on paired differences over the same resampled blocks of rows.
        tolerance: How much worse than the champion the model may be, in units of the metric.
        confidence: Of the intervals, between 0.5 and 1.
        slice_minimum_rows: Slices with fewer rows are not judged.
        slice_maximum_drop: How far the AUC of a slice may fall below the champion's, 0 to 1.
        incomparable: What a champion that cannot score the rows means: `block` or `pass`.
        seed: Of the resampling.

    Returns:
        Whether the model passed.
    """
    from intermodal.components.gate_model.logic import gate_model

    return gate_model(
        evaluation_path=evaluation.path,
        predictions_path=predictions.path if predictions else None,
        minimum=minimum,
        maximum=maximum,
        metric=metric,
        tolerance=tolerance,
        confidence=confidence,
        slice_minimum_rows=slice_minimum_rows,
        slice_maximum_drop=slice_maximum_drop,
        incomparable=incomparable,
        seed=seed,
        decision_path=decision.path,
    )
