"""Contract of `test_predictor`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="serve")
def test_predictor(
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact] = None,
    timeout: float = 60.0,
    tolerance: float = 1e-4,
) -> str:
    """Check that the predictor serves a model right, before a service takes it over: start it within the task, ask it, and end it.

    Args:
        model: A SavedModel or a Keras file, with or without `signature.json`.
        evaluation: A directory with `smoke.json`: rows, and the probabilities that they must give. Without it the predictor must be ready, and answer
            an example where the model's inputs allow one.
        timeout: Seconds until the predictor must be ready.
        tolerance: How far a served probability may be from the expected one.

    Returns:
        What was tested, in words.
    """
    from intermodal.components.test_predictor.logic import test_predictor

    return test_predictor(model_path=model.path, evaluation_path=evaluation.path if evaluation else None, timeout=timeout, tolerance=tolerance)
