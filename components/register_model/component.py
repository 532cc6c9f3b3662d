"""Contract of `register_model`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="track", cached=False, changes="model-registry")
def register_model(
    model: dsl.Input[dsl.Model],
    training: dsl.Input[dsl.Artifact],
    schema: dsl.Input[dsl.Artifact],
    statistics: dsl.Input[dsl.Artifact],
    evaluation: dsl.Input[dsl.Artifact],
    decision: dsl.Input[dsl.Artifact],
    tables: dsl.Input[dsl.Dataset],
    repository: dsl.Input[dsl.Artifact],
    model_registry: str,
    model_name: str,
    parameters: dict,
    run_name: str,
    registration: dsl.Output[dsl.Artifact],
):
    """Register a model version in MLflow with its numbers and lineage; the alias `champion` moves only when the gate passed.

    Args:
        model: A SavedModel.
        training: As `train_model` writes it.
        schema: As `validate_data` writes it; kept beside the model, as the next run's baseline.
        statistics: As `validate_data` writes them; kept beside the model, as the next run's baseline.
        evaluation: As `evaluate_model` writes it.
        decision: As `gate_model` writes it.
        tables: As `ingest_tables` writes them: the manifest names the data.
        repository: The feature repository: its hash names the code.
        model_registry: MLflow tracking and registry URI.
        model_name: The registered model's name; made when it does not exist.
        parameters: What to log as the run's parameters.
        run_name: Names the run, and makes registering idempotent: the same name with the same model is one version.
        registration: A directory: `registration.json` (model name, version, run id, whether the alias moved, lineage) and the evidence that it
            was registered with: `evaluation.json`, `decision.json`, `history.json`, `schema.pbtxt`, `statistics/`, the data's `manifest.json`.
    """
    from intermodal.components.register_model.logic import register_model

    register_model(
        model_path=model.path,
        training_path=training.path,
        schema_path=schema.path,
        statistics_path=statistics.path,
        evaluation_path=evaluation.path,
        decision_path=decision.path,
        tables_path=tables.path,
        repository_path=repository.path,
        model_registry=model_registry,
        model_name=model_name,
        parameters=parameters,
        run_name=run_name,
        registration_path=registration.path,
    )
