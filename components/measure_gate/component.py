"""Contract of `measure_gate`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="train")
def measure_gate(
    decision: dsl.Input[dsl.Artifact],
    evaluation: dsl.Input[dsl.Artifact],
    predictions: dsl.Input[dsl.Dataset],
    rates: dsl.Output[dsl.Artifact],
    summary: dsl.Output[dsl.Markdown],
    draws: int = 1000,
    seed: int = 0,
) -> bool:
    """Measure how often the gate errs on a decision's own rows: how often it blocks a model that is no worse, and passes one that is (an A/A test).

    Args:
        decision: As `gate_model` writes it: the rules that are measured are those that it was made by.
        evaluation: The evaluation that it was made of.
        predictions: The predictions that it was made of, of a model and a champion.
        rates: A directory: `rates.json`: each question with what is promised, what was measured, and the measurement's 95 % interval.
        summary: The same in words.
        draws: How many windows are drawn from the rows, at least 100.
        seed: Of the draws.

    Returns:
        Whether no rate is beyond what is promised, by more than the draws' own chance.
    """
    from intermodal.components.measure_gate.logic import measure_gate

    return measure_gate(
        decision_path=decision.path,
        evaluation_path=evaluation.path,
        predictions_path=predictions.path,
        draws=draws,
        seed=seed,
        rates_path=rates.path,
        summary_path=summary.path,
    )
