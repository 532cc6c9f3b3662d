"""Contract of `train_model`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="train")
def train_model(
    examples: dsl.Input[dsl.Dataset],
    label: str,
    model: dsl.Output[dsl.Model],
    training: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    curves: dsl.Output[dsl.HTML],
    schema: dsl.Input[dsl.Artifact] = None,
    statistics: dsl.Input[dsl.Artifact] = None,
    code: dsl.Input[dsl.Artifact] = None,
    tuned: dsl.Input[dsl.Artifact] = None,
    model_function: str = "",
    hidden_units: list = [128],
    dropout: float = 0.1,
    learning_rate: float = 0.001,
    batch_size: int = 1024,
    epochs: int = 12,
    patience: int = 2,
    hyperparameters: dict = {},
    seed: int = 0,
    backend: str = "tensorflow",
    workers: int = 1,
    model_parallel: int = 1,
    restarts: int = 2,
    steps_per_execution: int = 1,
    precision: str = "float32",
    jit_compile: bool = False,
    checkpoints: str = "",
    checkpoint_steps: int = 0,
    checkpoint_minutes: float = 10.0,
    checkpoints_kept: int = 3,
):
    """Train a Keras model for a label of 0 and 1. Its preprocessing is part of the SavedModel, which takes raw rows.

    Args:
        examples: A Parquet or CSV file, a directory of them, or a directory with one directory for each split. `train` is trained on, and
            `validation` decides when to stop; where they are not there they are cut from the rows by a hash of each (0.8 train, 0.1 validation,
            0.1 test).
        label: The label's column, 0 or 1.
        model: A SavedModel directory: signature `serving_default` takes one tensor a raw column, shape (rows,), and returns `probability`, shape
            (rows,); `signature.json` names the columns, their types and an example. Metadata: framework, framework_version, label, and what a
            repetition needs: seed, backend, workers, hardware, precision, versions, commit, image,
            examples_sha256, weights_sha256.
        training: A directory: `history.json` (a list of values per epoch for each curve), `hyperparameters.json`, `reproduction.json` (the model's
            metadata), `logs/` (TensorBoard) and `checkpoints/best.weights.h5`.
        metrics: The best epoch's numbers, the seconds it took, `rows_per_second` of the steps, and shares of the chief's time in them: `input_wait`,
            waiting for rows, `cpu_utilisation` and, with NVIDIA's GPUs, `gpu_utilisation` and `gpu_memory`; with several
            workers `slowest_worker`, and `slowest_worker_ratio`: its time for a row of the validation, divided by the others' median.
        curves: A page with the learning curves, drawn by the platforms' pages.
        schema: `schema.pbtxt`, as `validate_data` writes it: the model's inputs are its features. Default: the columns of `train` that are numbers,
            booleans or text.
        statistics: `train.pb`, as `validate_data` writes it, of the same columns as the schema: vocabularies, means and deviations come from it.
            Given with `schema` or not at all. Default: they are computed from `train`.
        code: A directory with the file of `model_function`.
        tuned: `parameters.json`, as `tune_model` writes it: its values replace the hyperparameters of the same name.
        model_function: `file.py:function` in `code`: called with the number of preprocessed features and a dictionary of all hyperparameters, it
            returns a Keras model with one logit. Empty: a multilayer perceptron.
        hidden_units: Units of each hidden layer.
        dropout: Share of units dropped after each hidden layer, from 0 to below 1.
        learning_rate: Of Adam.
        batch_size: Rows of one step, over all workers; where there are fewer rows, all of them are one step.
        epochs: Passes over the rows at most.
        patience: Epochs without a lower validation loss after which training stops; the best epoch's weights are kept.
        hyperparameters: What a `model_function` of your own reads beside these: name to value.
        seed: Makes a run repeatable on the same machine.
        backend: tensorflow or jax: what makes the steps. The model written is the same kind of SavedModel with either.
        workers: Processes that train one model together, 64 at most. The platform starts them on machines of their own; where none did, this task
            starts them on its own machine. Each step has the same rows for any number of workers.
        model_parallel: Devices of one worker over which the weights of each layer are split, with the backend jax; rows are split over the rest.
        restarts: How often all workers of this task's own machine are started again, from the newest checkpoint, when one has died.
        steps_per_execution: Steps of one call of the compiled function: more save time where steps are short.
        precision: float32, mixed_bfloat16 or mixed_float16: how the model is computed while it is trained; it is exported in float32.
        jit_compile: Whether XLA compiles the forward and backward pass; with the backend jax it always does.
        checkpoints: A folder or gs://, s3:// place that outlives the task; a training goes on from the newest checkpoint there, if it is of the same
            model, rows and hyperparameters. Default: a folder beside `training`, removed at the end.
        checkpoint_steps: Steps between checkpoints; 0: not by steps.
        checkpoint_minutes: Minutes between checkpoints; 0: not by time.
        checkpoints_kept: Checkpoints kept.
    """
    from intermodal.components.train_model.logic import train_model

    trained = train_model(
        examples_path=examples.path,
        label=label,
        schema_path=schema.path if schema else None,
        statistics_path=statistics.path if statistics else None,
        code_path=code.path if code else None,
        tuned_path=tuned.path if tuned else None,
        model_function=model_function,
        hidden_units=hidden_units,
        dropout=dropout,
        learning_rate=learning_rate,
        batch_size=batch_size,
        epochs=epochs,
        patience=patience,
        hyperparameters=hyperparameters,
        seed=seed,
        backend=backend,
        workers=workers,
        model_parallel=model_parallel,
        restarts=restarts,
        steps_per_execution=steps_per_execution,
        precision=precision,
        jit_compile=jit_compile,
        checkpoints=checkpoints,
        checkpoint_steps=checkpoint_steps,
        checkpoint_minutes=checkpoint_minutes,
        checkpoints_kept=checkpoints_kept,
        model_path=model.path,
        training_path=training.path,
        metrics_path=metrics.path,
        curves_path=curves.path,
    )
    metrics.metadata.update(trained.metrics)
    model.metadata.update(trained.model)
