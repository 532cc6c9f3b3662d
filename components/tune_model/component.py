"""Contract of `tune_model`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="train")
def tune_model(
    examples: dsl.Input[dsl.Dataset],
    label: str,
    best: dsl.Output[dsl.Artifact],
    history: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    plots: dsl.Output[dsl.HTML],
    schema: dsl.Input[dsl.Artifact] = None,
    statistics: dsl.Input[dsl.Artifact] = None,
    code: dsl.Input[dsl.Artifact] = None,
    space: dict = {},
    model_function: str = "",
    hidden_units: list = [128],
    dropout: float = 0.1,
    learning_rate: float = 0.001,
    batch_size: int = 1024,
    epochs: int = 12,
    patience: int = 2,
    hyperparameters: dict = {},
    seed: int = 0,
    steps_per_execution: int = 1,
    precision: str = "float32",
    jit_compile: bool = False,
    metric: str = "val_loss",
    trials: int = 20,
    parallel: int = 1,
    early_stopping: str = "median",
    timeout: float = 0.0,
    study: str = "",
):
    """Search the hyperparameters of `train_model`: each trial trains as it does, on `train`, and is judged on `validation`. `test` is not read.

    Args:
        examples: As of `train_model`.
        label: The label's column, 0 or 1.
        best: A directory: `parameters.json`, the best trial's searched hyperparameters by name, which `train_model` takes as `tuned`.
        history: A directory: `trials.parquet`, a row a trial: number, state (finished, pruned, failed, interrupted), value, epochs, seconds, reason,
            and a column `parameters.NAME` for each searched hyperparameter; `search.json`, the same with the space and, from 10 finished trials on,
            `importance`: each hyperparameter's share of the metric's differences over the space (functional analysis of variance).
        metrics: `best_value`, `trials_finished`, `trials_pruned`, `trials_failed` and `seconds` of this attempt.
        plots: A page: the best value so far, importance, and the value against each hyperparameter.
        schema: As of `train_model`.
        statistics: As of `train_model`.
        code: As of `train_model`.
        space: What is searched: hyperparameter to `{type: float or int, low, high, log, step}` or `{type: categorical, choices}`. Empty:
            `hidden_units`, `dropout` and `learning_rate` of the multilayer perceptron, in wide bounds.
        model_function: As of `train_model`.
        hidden_units: Of every trial, unless it is searched; so are the following six.
        dropout: See `train_model`.
        learning_rate: See `train_model`.
        batch_size: See `train_model`.
        epochs: See `train_model`.
        patience: See `train_model`.
        hyperparameters: Fixed values for a `model_function` of your own; those in `space` are not among them.
        seed: Of the search and of every training: with `parallel` 1 the same seed makes the same trials.
        steps_per_execution: See `train_model`.
        precision: See `train_model`.
        jit_compile: See `train_model`.
        metric: val_loss (the lowest is best) or val_auc (the highest is), of the epoch with the lowest val_loss, whose weights `train_model` keeps.
        trials: How many, the failed and pruned ones and those of an earlier attempt included.
        parallel: Trials at a time, each a process of its own with an equal share of the processors.
        early_stopping: Which trials end early, by their metric after each epoch: none, median, halving or hyperband (Optuna's pruners).
        timeout: Seconds after which no trial begins; those under way are finished. 0: no limit.
        study: A folder that outlives the task: a search that was killed goes on there with the trials that ended. Default: where the platform keeps
            checkpoints, then a folder beside `best`, removed at the end.
    """
    from intermodal.components.tune_model.logic import tune_model

    found = tune_model(
        examples_path=examples.path,
        label=label,
        schema_path=schema.path if schema else None,
        statistics_path=statistics.path if statistics else None,
        code_path=code.path if code else None,
        space=space,
        model_function=model_function,
        hidden_units=hidden_units,
        dropout=dropout,
        learning_rate=learning_rate,
        batch_size=batch_size,
        epochs=epochs,
        patience=patience,
        hyperparameters=hyperparameters,
        seed=seed,
        steps_per_execution=steps_per_execution,
        precision=precision,
        jit_compile=jit_compile,
        metric=metric,
        trials=trials,
        parallel=parallel,
        early_stopping=early_stopping,
        timeout=timeout,
        study=study,
        best_path=best.path,
        history_path=history.path,
        metrics_path=metrics.path,
        plots_path=plots.path,
    )
    metrics.metadata.update(found)
