"""Contract of `gate_model`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="train")
def gate_model(
    evaluation: dsl.Input[dsl.Artifact],
    decision: dsl.Output[dsl.Artifact],
    summary: dsl.Output[dsl.Markdown],
    predictions: dsl.Input[dsl.Dataset] = None,
    minimum: dict = {},
    maximum: dict = {},
    margin: dict = {"log_loss": 0.005},
    confidence: float = 0.95,
    judged: dict = {},
    minimum_blocks: int = 10,
    slice_margin: dict = {"auc": 0.05, "log_loss": 0.05},
    slice_minimum: dict = {},
    slice_maximum: dict = {},
    slice_minimum_rows: int = 200,
    require_approval: bool = False,
    approved: list = [],
    incomparable: str = "block",
    seed: int = 0,
) -> bool:
    """Decide whether a model may replace the champion, and write down why.

    Args:
        evaluation: A directory with `evaluation.json`, as `evaluate_model` writes it, or with `models.challenger.metrics` alone: metric to `value`
            and, where known, `low` and `high`.
        decision: A directory: `decision.json`: the verdict (`passed`, `blocked` or `too little data`), each rule with its numbers and outcome in
            words, why there was no comparison with a champion (`uncompared`), the arguments and the inputs' hashes, from which `verify_decision`
            makes it again.
        summary: The verdict and each rule in words, for the platform's page.
        predictions: As `evaluate_model` writes them. Without them, or where the evaluation has no champion, only `minimum` and `maximum` count.
        minimum: Metric to the least it may be. Metrics: auc, pr_auc, log_loss, brier, accuracy, ece (expected calibration error).
        maximum: Metric to the most it may be.
        margin: Metric to how much worse than the champion, and than the reference (see `promote_model`), the model may be, in units of the metric.
            It passes when the paired difference on the same rows shows that it is worse by no more. Empty: it is not compared.
        confidence: Between 0.5 and 1, of one-sided tests. Of all models that the same rows judge and that are worse by the margin, any passes in at
            most 1 - confidence of the cases. And of the models that are worse in no slice, slices block at most 1 - confidence.
        judged: By window the models that were judged on it before, as `find_champion` finds them. The more of them were judged on any of these rows,
            the surer a comparison must be. Windows that have more than a day
            in common have rows in common.
        minimum_blocks: With fewer blocks of rows (see `evaluate_model`) nothing is shown, at least 10.
        slice_margin: Metric to how much worse than the champion, and than the reference, the model may be in a slice before it is blocked, if that
            is beyond chance.
        slice_minimum: Metric to the least it may be in any slice; it blocks where it is less beyond chance.
        slice_maximum: Metric to the most it may be in any slice, likewise.
        slice_minimum_rows: Slices with fewer rows are not judged.
        require_approval: Whether a person must approve the model: the decision says by which hash.
        approved: SHA-256 of the models that a person approved, each at least its first 12 digits.
        incomparable: What a champion or a reference that cannot score the rows means: `block` or `pass`.
        seed: Of the draw by which more than 1,000 blocks without an order are put together.

    Returns:
        Whether the model passed.
    """
    from intermodal.components.gate_model.logic import gate_model

    return gate_model(
        evaluation_path=evaluation.path,
        predictions_path=predictions.path if predictions else None,
        minimum=minimum,
        maximum=maximum,
        margin=margin,
        confidence=confidence,
        judged=judged,
        minimum_blocks=minimum_blocks,
        slice_margin=slice_margin,
        slice_minimum=slice_minimum,
        slice_maximum=slice_maximum,
        slice_minimum_rows=slice_minimum_rows,
        require_approval=require_approval,
        approved=approved,
        incomparable=incomparable,
        seed=seed,
        decision_path=decision.path,
        summary_path=summary.path,
    )
