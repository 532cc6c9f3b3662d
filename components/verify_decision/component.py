"""Contract of `verify_decision`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="train")
def verify_decision(
    decision: dsl.Input[dsl.Artifact],
    evaluation: dsl.Input[dsl.Artifact],
    verification: dsl.Output[dsl.Markdown],
    predictions: dsl.Input[dsl.Dataset] = None,
) -> bool:
    """Judge a model again from what its decision was made of, and say whether the decision stands.

    Args:
        decision: As `gate_model` writes it.
        evaluation: The evaluation that it was made of.
        verification: What was looked at, and what differs, in words.
        predictions: The predictions that it was made of, if it was made of any: the metrics are then computed again too.

    Returns:
        Whether the inputs are the same, the metrics are those of the predictions, and every rule comes to the same.
    """
    from intermodal.components.verify_decision.logic import verify_decision

    return verify_decision(
        decision_path=decision.path,
        evaluation_path=evaluation.path,
        predictions_path=predictions.path if predictions else None,
        verification_path=verification.path,
    )
