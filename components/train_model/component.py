"""Contract of `train_model`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="train")
def train_model(
    examples: dsl.Input[dsl.Dataset],
    schema: dsl.Input[dsl.Artifact],
    statistics: dsl.Input[dsl.Artifact],
    repository: dsl.Input[dsl.Artifact],
    label: str,
    model_function: str,
    hyperparameters: dict,
    seed: int,
    model: dsl.Output[dsl.Model],
    training: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
):
    """Train a Keras model whose preprocessing is derived from the schema and lives inside the SavedModel, which takes raw rows.

    Args:
        examples: A directory with the parts `train` and `validation`.
        schema: `schema.pbtxt`, as `validate_data` writes it: the model's inputs are its features, without the label.
        statistics: `train.pb`: vocabularies, means and deviations come from it.
        repository: A directory that may hold the file of `model_function`.
        label: The label's column, 0 or 1.
        model_function: `file.py:function` in the repository, called with the number of preprocessed features and the hyperparameters,
            returning a Keras model with one output logit; empty: a multilayer perceptron.
        hyperparameters: `hidden_units`, `dropout`, `learning_rate`, `batch_size`, `epochs`, `patience`, and whatever the model function
            reads.
        seed: Makes a run repeatable on the same machine.
        model: A SavedModel directory: signature `serving_default` takes one tensor a raw column, shape (rows,), and returns
            `probability`, shape (rows,); `signature.json` names the columns, their types and an example.
        training: A directory: `history.json` (a list of values per epoch for each curve), `logs/` (TensorBoard) and `checkpoints/`.
        metrics: The best epoch's numbers, and the seconds it took.
    """
    from intermodal.components.train_model.logic import train_model

    metrics.metadata.update(
        train_model(
            examples_path=examples.path,
            schema_path=schema.path,
            statistics_path=statistics.path,
            repository_path=repository.path,
            label=label,
            model_function=model_function,
            hyperparameters=hyperparameters,
            seed=seed,
            model_path=model.path,
            training_path=training.path,
            metrics_path=metrics.path,
        )
    )
