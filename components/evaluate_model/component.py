"""Contract of `evaluate_model`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="train")
def evaluate_model(
    model: dsl.Input[dsl.Model],
    champion: dsl.Input[dsl.Model],
    examples: dsl.Input[dsl.Dataset],
    label: str,
    block: str,
    slices: list,
    seed: int,
    evaluation: dsl.Output[dsl.Artifact],
    predictions: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    curves: dsl.Output[dsl.ClassificationMetrics],
):
    """Score the held-out part `test` with the new model and the champion, and measure both on the same rows.

    Args:
        model: A SavedModel as `train_model` writes it.
        champion: As `fetch_champion` writes it; it may hold no model.
        examples: A directory with the part `test`.
        label: The label's column, 0 or 1.
        block: The column whose values group rows that depend on each other (a timestamp groups by day, UTC); intervals resample whole
            blocks. Empty: rows are independent.
        slices: Columns by whose values the numbers are also given.
        seed: Of the bootstrap.
        evaluation: A directory: `evaluation.json` (numbers with 95% intervals of challenger and champion: AUC, PR-AUC, log loss, Brier;
            calibration, threshold table, ROC, slices) and `smoke.json` (raw rows and the probabilities they must give when served).
        predictions: A directory: `predictions.parquet` with `label`, `block`, the slices, `challenger` and `champion` (null without one).
        metrics: The overall numbers.
        curves: ROC curve and confusion matrix, in the platforms' own views.
    """
    from intermodal.components.evaluate_model.logic import evaluate_model

    evaluated = evaluate_model(
        model_path=model.path,
        champion_path=champion.path,
        examples_path=examples.path,
        label=label,
        block=block,
        slices=slices,
        seed=seed,
        evaluation_path=evaluation.path,
        predictions_path=predictions.path,
        metrics_path=metrics.path,
    )
    metrics.metadata.update(evaluated.metrics)
    curves.log_roc_curve(*evaluated.roc)
    curves.log_confusion_matrix(*evaluated.confusion)
