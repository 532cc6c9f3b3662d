"""Contract of `register_model`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="track", cached=False, changes="model-registry")
def register_model(
    model: dsl.Input[dsl.Model],
    name: str,
    registry: str,
    registered: dsl.Output[dsl.Model],
    registration: dsl.Output[dsl.Artifact],
    training: dsl.Input[dsl.Artifact] = None,
    schema: dsl.Input[dsl.Artifact] = None,
    statistics: dsl.Input[dsl.Artifact] = None,
    evaluation: dsl.Input[dsl.Artifact] = None,
    decision: dsl.Input[dsl.Artifact] = None,
    metrics: dsl.Input[dsl.Metrics] = None,
    tables: dsl.Input[dsl.Dataset] = None,
    repository: dsl.Input[dsl.Artifact] = None,
    code: dsl.Input[dsl.Artifact] = None,
    parameters: dict = {},
    run_name: str = "",
):
    """Register a model version in MLflow with its metrics, its lineage and what it was judged by; `promote_model` makes it the champion.

    Args:
        model: A file or a directory: a SavedModel, a Keras file, or a model of any other framework.
        name: The registered model's name; created when it does not exist.
        registry: MLflow tracking and registry URI: `sqlite:////path/to/file.db`, or `http(s)://` of a server.
        registered: A copy of the model, with the metadata `name`, `version`, `framework`, `registry` and `sha256`.
        registration: A directory: `registration.json` (`name`, `version`, `run_id`, `registry`, `lineage`) and, of what was
            given, `evaluation.json`, `decision.json`, `history.json`, `schema.pbtxt`, `statistics/`, `manifest.json`.
        training: As `train_model` writes it: its curves become metrics of the run, its hyperparameters become parameters.
        schema: As `validate_data` writes it; stored beside the model, for the next run to compare with.
        statistics: As `validate_data` writes them; stored beside the model, for the next run to compare with.
        evaluation: As `evaluate_model` writes it: its numbers become metrics of the run.
        decision: As `gate_model` writes it; stored beside the model. Where it passed and compared with another version than the champion, it is an
            error.
        metrics: Numbers by name, of whatever component measured them; they become metrics of the run.
        tables: As `ingest_tables` writes them: the manifest identifies the data.
        repository: The code that made the features, for instance a feature repository: its hash is recorded.
        code: The code that made the model, where it is not the framework's own: its hash is recorded.
        parameters: Parameters of the run, name to value, for instance the hyperparameters.
        run_name: The MLflow run's name. Default: MLflow invents one.
    """
    from intermodal.components.register_model.logic import register_model

    given = {"training": training, "schema": schema, "statistics": statistics, "evaluation": evaluation, "decision": decision, "tables": tables}
    registered.metadata.update(
        register_model(
            model_path=model.path,
            framework=model.metadata.get("framework", ""),
            **{f"{key}_path": each.path if each else None for key, each in {**given, "repository": repository, "code": code}.items()},
            metrics=metrics.metadata if metrics else {},
            name=name,
            registry=registry,
            parameters=parameters,
            run_name=run_name,
            registered_path=registered.path,
            registration_path=registration.path,
        )
    )
