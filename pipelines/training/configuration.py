"""The configuration of the training pipeline: a section for each component."""

from datetime import date
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from intermodal.components.evaluate_model.component import evaluate_model
from intermodal.components.find_champion.component import find_champion
from intermodal.components.gate_model.component import gate_model
from intermodal.components.ingest_tables.arguments import named_source
from intermodal.components.ingest_tables.component import ingest_tables
from intermodal.components.retrieve_features.component import retrieve_features
from intermodal.components.train_model.component import train_model
from intermodal.components.tune_model.component import tune_model
from intermodal.components.validate_data.component import validate_data
from intermodal.configuration.sections import Configuration, Folder, MappingOrFile, SourceUri, deploy_sections, inputs_of, section
from intermodal.runtime.arguments import ArgumentError
from intermodal.training.model.hyperparameters import NAMED


def _plain_times(value: Any) -> Any:
    """Return a value with its times as text: YAML reads 2013-10-01T00:00:00Z, unless it stands in quotes, as a time."""
    if isinstance(value, dict):
        return {name: _plain_times(each) for name, each in value.items()}
    return value.isoformat() if isinstance(value, date) else value


Fraction = Annotated[float, Field(ge=0, le=1)]
Metric = Literal["auc", "pr_auc", "log_loss", "brier", "accuracy", "ece"]
ByMetric = dict[Metric, float]


class Part(BaseModel):
    """An object inside a section, whose keys are checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Source(Part):
    """A table and the files it comes from; a URI alone is one too."""

    @model_validator(mode="before")
    @classmethod
    def _of_uri(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return named_source(value)
        except ArgumentError as error:
            raise ValueError(error.reason) from error

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="The table's name")
    uri: SourceUri = Field(description="File, glob or directory; relative to the configuration; package:NAME/PATH; gs:// or s3://")
    format: Literal["csv", "parquet"] | None = Field(None, description="Default: by the file's name")
    columns: dict[str, str] = Field({}, description="Columns that must be there, with their Arrow types")
    column_names: list[str] = Field([], description="CSV without a header: the names")
    skip_rows: int = Field(0, ge=0, description="CSV: lines to skip at the top")
    null_values: list[str] = Field(["", "NA"], description="CSV: texts that mean null")
    encoding: str = Field("utf-8", description="CSV: the text encoding")
    time_zone: str | None = Field(None, description="Zone of timestamps that carry none")
    row_number: str | None = Field(None, description="Name of a column to add that numbers the rows from 0")


class Features(section(retrieve_features)):  # type: ignore[misc]
    """The feature repository, and Feast's stores."""

    repository: Folder = Field(description="Folder of Feast definitions and transforms, relative to the configuration")
    store: dict[str, Any] = Field(
        {
            "registry": "{home}/stores/feast/registry.db",
            "online_store": {"type": "sqlite", "path": "{home}/stores/feast/online.db"},
        },
        description="Feast's own settings, as in feature_store.yaml",
    )

    def argument_of(self, name: str, whole: Any) -> Any:
        """Return a parameter's value; Feast's project is named after the configuration where the settings name none."""
        return {"project": whole.name.replace("-", "_")} | self.store if name == "store" else super().argument_of(name, whole)


class Validation(section(validate_data, without=("label",), ignored=list[str], warn=list[str], beam_options=list[str])):  # type: ignore[misc]
    """What counts as wrong with the data."""

    schema_text: Path | None = Field(None, description="File of a TFMD schema in text form, relative to the configuration; else inferred and kept")


class Training(section(train_model, without=("label", "seed"))):  # type: ignore[misc]
    """What is trained."""

    code: Folder | None = Field(None, description="Folder with the file of `model_function`, relative to the configuration")

    @model_validator(mode="after")
    def _with_its_code(self) -> Any:
        if self.model_function and not self.code:
            raise ValueError("model_function needs the folder of its file: give it as `code`")
        return self


class Tuning(section(tune_model, without=tuple(inputs_of(train_model)), space=MappingOrFile)):  # type: ignore[misc]
    """A search of hyperparameters before the training, which takes the best; without this section there is none. All else: `training`."""

    takes_keys_of: ClassVar[tuple[str, ...]] = ("training",)


class TrainingConfiguration(Configuration):
    """A training pipeline's whole configuration."""

    title: str = Field(description="Heads the report")
    label: str = Field(description="The label's column, 0 or 1")
    seed: int = Field(0, description="Of the training and the bootstraps")
    registry: str = Field("sqlite:///{home}/stores/mlflow.db", description="MLflow tracking and registry URI")

    data = section(
        ingest_tables,
        without=("fingerprint",),
        sources=list[Source],
        split_parts=Annotated[dict[str, Any], BeforeValidator(_plain_times)],
        split_end=Annotated[str, BeforeValidator(_plain_times)],
    )
    features = Features
    validation = Validation
    training = Training
    tuning: Tuning | None = None
    evaluation = section(evaluate_model, without=("label", "seed"), slices=list[str])
    gate = section(
        gate_model,
        without=("seed", "judged"),
        **dict.fromkeys(("minimum", "maximum", "margin", "slice_margin", "slice_minimum", "slice_maximum"), ByMetric),
        approved=list[str],
    )
    #: serving.NAME: the parameters of the deploy step that `platforms/NAME/platform.py` names.
    serving = deploy_sections(without=("name", "version"))

    checked_by: ClassVar[tuple[Any, ...]] = (find_champion,)  # `name` and `registry`

    renamed: ClassVar[dict[str, str]] = (
        {
            "model.name": "name",
            "model.label": "label",
            "model.seed": "seed",
            "model.function": "training.model_function, with the folder of its file as training.code",
            "model.hyperparameters": "training.hidden_units, training.epochs and so on; your own model_function's: training.hyperparameters",
            "validation.schema_file": "validation.schema_text",
            "gate.slices": "gate.slice_minimum_rows and gate.slice_margin",
            "gate.metric": "gate.margin, metric to how much worse than the champion the model may be",
            "gate.tolerance": "gate.margin, metric to how much worse than the champion the model may be",
            "gate.slice_maximum_drop": "gate.slice_margin, metric to how much worse it may be in a slice",
            "data.split": "data.split_by, data.split_table, data.split_column and data.split_parts",
            "stores.model_registry": "registry",
            "stores.deployments": "serving.local.deployments, serving.kubeflow.namespace or serving.vertex.endpoint",
            "serving.port": "serving.local.port",
            "serving.image": "serving.kubeflow.image",
            "serving.resources": "serving.kubeflow.resources",
            "serving.machine_type": "serving.vertex.machine_type",
            "serving.parent_model": "serving.vertex.parent_model",
        }
        | {f"training.hyperparameters.{key}": f"training.{key}" for key in NAMED}
        | {f"validation.rules.{key}": f"validation.{key}" for key in ("skew", "drift", "warn", "evolve", "min_domain_mass", "missing", "domain_size")}
        | {f"serving.{key}": f"serving.local.{key}, serving.kubeflow.{key} or serving.vertex.{key}" for key in ("timeout", "tolerance")}
        | {f"serving.{key}": f"serving.kubeflow.{key} or serving.vertex.{key}" for key in ("service_account", "minimum_replicas", "maximum_replicas")}
    )
