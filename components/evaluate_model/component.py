"""Contract of `evaluate_model`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="train")
def evaluate_model(
    model: dsl.Input[dsl.Model],
    examples: dsl.Input[dsl.Dataset],
    label: str,
    evaluation: dsl.Output[dsl.Artifact],
    predictions: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    curves: dsl.Output[dsl.ClassificationMetrics],
    champion: dsl.Input[dsl.Model] = None,
    part: str = "test",
    block: str = "",
    slices: list = [],
    seed: int = 0,
):
    """Score rows that were held out with a model, and with the champion, and measure both on the same rows.

    Args:
        model: A SavedModel directory or a Keras file, which gives one probability a row. With `signature.json`, as `train_model` writes it, the
            columns it names are the inputs. Without, an input takes the column of its name, and a model with one matrix as input takes all numeric
            columns but the label, in the table's order. An output whose name has `logit` in it, or a linear last layer of a Keras file, is a logit.
        examples: A Parquet or CSV file, a directory of them, or a directory with one directory for each split. Data without splits is cut as
            `train_model` cuts it, so that no row was trained on.
            Rows that the model, the champion or the reference was trained on, as far as they tell, are left out.
        label: The label's column, 0 or 1.
        evaluation: A directory: `evaluation.json` (numbers with 95% intervals of challenger and champion: AUC, PR-AUC, log loss, Brier,
            accuracy, expected calibration error; calibration, threshold table, ROC, slices) and `smoke.json` (raw rows and the probabilities they
            must give when served).
        predictions: A directory: `predictions.parquet` with `label`, `block`, the slices, `challenger`, `champion` and `reference` (null
            without one).
        metrics: The overall numbers.
        curves: ROC curve and confusion matrix at 0.5, drawn by the platforms' pages.
        champion: What the model is compared with: as `fetch_champion` writes it (it may hold no model), or any model as above.
        part: The split to score; empty: all rows, for a model that was trained on others.
        block: The column whose values group rows that depend on each other: intervals come from how the numbers change without each block. A
            timestamp or date groups by day, UTC, and the days' order counts. Empty: rows are independent. With fewer than 10 blocks there are no
            intervals, nor where no block changes a number.
        slices: Columns by whose values the numbers are also given; `city*device` is each pair of values of two columns.
        seed: Of the draw by which more than 1,000 blocks without an order are put together.
    """
    from intermodal.components.evaluate_model.logic import evaluate_model

    evaluated = evaluate_model(
        model_path=model.path,
        examples_path=examples.path,
        label=label,
        champion_path=champion.path if champion else None,
        part=part,
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
