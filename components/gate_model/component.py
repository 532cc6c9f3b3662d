"""Contract of `gate_model`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="train")
def gate_model(
    evaluation: dsl.Input[dsl.Artifact],
    predictions: dsl.Input[dsl.Dataset],
    rules: dict,
    seed: int,
    decision: dsl.Output[dsl.Artifact],
) -> bool:
    """Decide whether a model may replace the champion, and write down why.

    Args:
        evaluation: As `evaluate_model` writes it.
        predictions: As `evaluate_model` writes them: the champion is compared on paired differences over the same resampled blocks.
        rules: `minimum` and `maximum`, metric to bound; `metric`, the one compared with the champion (default log_loss), `tolerance`,
            how much worse the challenger may be (default 0), `confidence` (default 0.95); `slices`, `{minimum_rows, maximum_drop}`: how far
            the AUC of a slice may fall below the champion's.
        seed: Of the bootstrap.
        decision: A directory: `decision.json`: verdict, each rule with its numbers and outcome in words, the inputs' hashes.

    Returns:
        Whether the model passed.
    """
    from intermodal.components.gate_model.logic import gate_model

    return gate_model(
        evaluation_path=evaluation.path,
        predictions_path=predictions.path,
        rules=rules,
        seed=seed,
        decision_path=decision.path,
    )
