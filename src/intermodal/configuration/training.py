"""The configuration of a training pipeline: one typed, validated file a data set."""

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from intermodal.configuration.sources import resolve_sources
from intermodal.runtime.errors import ConfigurationError
from intermodal.runtime.safe_yaml import parse_documents, parse_value, read_text
from intermodal.runtime.secret_values import named_variables, refuse_secrets

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,52}$", description="Lowercase letters, digits and hyphens, 53 at most")]
Fraction = Annotated[float, Field(ge=0, le=1)]
Metric = Literal["auc", "pr_auc", "log_loss", "brier", "accuracy"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Source(_Section):
    """A table and the files it comes from."""

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="The table's name")
    uri: str = Field(description="File, glob or directory; relative to the configuration; package:NAME/PATH; gs:// or s3://")
    format: Literal["csv", "parquet"] | None = Field(None, description="By default told from the file name")
    columns: dict[str, str] = Field({}, description="Columns that must be there, with their Arrow types")
    column_names: list[str] = Field([], description="CSV without a header: the names")
    skip_rows: int = Field(0, ge=0, description="CSV: lines to skip at the top")
    null_values: list[str] = Field(["", "NA"], description="CSV: texts that mean null")
    encoding: str = Field("utf-8", description="CSV: the text encoding")
    time_zone: str | None = Field(None, description="Zone of timestamps that carry none")
    row_number: str | None = Field(None, description="Name of a column to add that numbers the rows from 0")

    def argument(self) -> dict[str, Any]:
        """Return the object that `ingest_tables` takes, without what is at its default."""
        return self.model_dump(exclude_defaults=True) | {"name": self.name, "uri": self.uri}


class Window(_Section):
    """A time window; the start belongs to it, the end does not."""

    start: str | None = None
    end: str | None = None


class Split(_Section):
    """How the labelled table is divided into train, validation and test."""

    table: str
    by: Literal["time", "hash"]
    column: str
    parts: dict[str, Window | Fraction] = Field(description="train, validation and test: time windows, or fractions that sum to 1")


class Data(_Section):
    """Where the tables come from and how they are split."""

    sources: list[Source] = Field(min_length=1)
    split: Split


class Features(_Section):
    """The feature repository, and Feast's stores."""

    repository: Path = Field(description="Folder of Feast definitions and transforms, relative to the configuration")
    service: str = Field(description="The feature service to train on")
    spine: str = Field("examples", description="The table the transforms make whose rows are labelled")
    data_version: str = Field("", description="For sources outside the tables: a text that you change whenever their data changes")
    store: dict[str, Any] = Field(
        {
            "registry": "{home}/stores/feast/registry.db",
            "online_store": {"type": "sqlite", "path": "{home}/stores/feast/online.db"},
        },
        description="Feast's own settings, as in feature_store.yaml",
    )


class ValidationRules(_Section):
    """What stops a run, and how far distributions may move. None: calibrated per feature from the noise within the window."""

    skew: float | None = Field(None, gt=0)
    drift: float | None = Field(None, gt=0)
    warn: list[str] | None = Field(None, description="Kinds of anomaly that do not stop a run; default: SKEW and DRIFT")
    evolve: bool | None = Field(None, description="Whether new columns extend a kept schema; default: yes")
    min_domain_mass: Fraction | None = Field(None, description="Share of known values below which a text column is an anomaly")
    missing: Fraction | None = Field(None, description="Room for missing values beyond what was seen")
    domain_size: int | None = Field(None, ge=1, description="Distinct texts above which no domain is inferred")


class Validation(_Section):
    """How the data is held to a schema."""

    schema_file: Path | None = Field(None, description="A TFMD schema in text form, relative to the configuration; else inferred and kept")
    ignored: list[str] = Field(["event_timestamp"], description="Columns that are neither features nor label")
    rules: ValidationRules = ValidationRules()
    beam_options: list[str] = Field([], description="Apache Beam options; empty: in one process, streaming")


class Model(_Section):
    """What is trained."""

    name: Name
    label: str = Field(description="The label's column, 0 or 1")
    function: str = Field("", description="file.py:function in the feature repository; empty: a multilayer perceptron")
    hyperparameters: dict[str, Any] = {}
    seed: int = 0


class Evaluation(_Section):
    """How the held-out part is measured."""

    block: str = Field("", description="Column that groups dependent rows; a timestamp groups by day")
    slices: list[str] = []


class SliceRule(_Section):
    """How far a slice may fall."""

    minimum_rows: int = Field(200, ge=1)
    maximum_drop: Fraction = 0.05


class Gate(_Section):
    """What a model must show to be served."""

    minimum: dict[Metric, float] = {}
    maximum: dict[Metric, float] = {}
    metric: Metric = "log_loss"
    tolerance: float = Field(0.0, ge=0)
    confidence: float = Field(0.95, gt=0.5, lt=1)
    slices: SliceRule = SliceRule()
    incomparable: Literal["block", "pass"] = Field("block", description="What a champion that cannot score the rows means")


class Serving(BaseModel):
    """Where and how a passed model is served; other keys are the platform's own (see the page of its deploy component)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    port: int = Field(8080, ge=1, le=65535)
    timeout: float | None = Field(None, gt=0, description="Seconds until it must answer; default: that of the deploy component")
    tolerance: float = Field(1e-4, gt=0, description="How far a served probability may be from the expected one")
    image: str | None = Field(None, description="Predictor image, on a cluster")
    service_account: str | None = Field(None, description="Service account of the predictor, on a cluster")
    resources: dict[str, Any] = Field({}, description="Kubernetes requests and limits, on a cluster")
    machine_type: str | None = Field(None, description="Machine of a replica, on a managed endpoint; default: n1-standard-2")
    minimum_replicas: int | None = Field(None, ge=1, description="How many there always are, on a cluster or a managed endpoint; default: 1")
    maximum_replicas: int | None = Field(None, ge=1, description="How many there may be, on a cluster or a managed endpoint; default: the minimum")
    parent_model: str | None = Field(None, description="The managed model that gets a new version; default: the one labelled with the service's name")


class Stores(_Section):
    """What outlives a run, by URI. `{home}` stands for the folder the local target keeps its files in."""

    model_registry: str = "sqlite:///{home}/stores/mlflow.db"
    deployments: str = "{home}/deployments"

    @field_validator("*")
    @classmethod
    def _no_variables(cls, value: str) -> str:
        if named_variables(value):
            raise ValueError("${NAME} stands for a variable only in features.store; MLflow reads MLFLOW_TRACKING_USERNAME and _PASSWORD itself")
        return value


class Events(_Section):
    """What an event that starts a run may decide."""

    parameters: list[str] = Field([], description="Pipeline parameters that an event may set; whoever may publish the event then decides them")


class TrainingConfiguration(_Section):
    """A training pipeline's whole configuration."""

    title: str
    data: Data
    features: Features
    validation: Validation = Validation()
    model: Model
    evaluation: Evaluation = Evaluation()
    gate: Gate = Gate()
    serving: Serving = Serving()
    stores: Stores = Stores()
    events: Events = Events()

    def arguments(self, *, base: Path) -> dict[str, Any]:
        """Return the pipeline arguments that are the same on every platform.

        Where the data and code lie (`sources`, `repository`) and the stores (`feature_store`, `model_registry`, `deployments`)
        depend on the platform: see `local_arguments`.

        Args:
            base: The folder that relative paths in the configuration start from.
        """
        return {
            "title": self.title,
            "split": self.data.split.model_dump(exclude_none=True),
            "feature_service": self.features.service,
            "spine": self.features.spine,
            "feature_data_version": self.features.data_version,
            "label": self.model.label,
            "schema_text": read_text(base / self.validation.schema_file, "correct validation.schema_file") if self.validation.schema_file else "",
            "ignored": self.validation.ignored,
            "validation_rules": self.validation.rules.model_dump(exclude_none=True),
            "beam_options": self.validation.beam_options,
            "model_function": self.model.function,
            "hyperparameters": self.model.hyperparameters,
            "seed": self.model.seed,
            "block": self.evaluation.block,
            "slices": self.evaluation.slices,
            "gate_rules": self.gate.model_dump(),
            "model_name": self.model.name,
            "service_name": self.model.name,
            "serving": self.serving.model_dump(exclude_none=True),
        }

    def local_arguments(self, *, base: Path, home: Path) -> dict[str, Any]:
        """Return all pipeline arguments for a run on this machine, but `repository`, which the target stages.

        Raises:
            ConfigurationError: A source does not exist.
        """
        return self.arguments(base=base) | {
            "sources": resolve_sources([source.argument() for source in self.data.sources], base),
            "feature_store": _at_home({"project": self.model.name.replace("-", "_")} | self.features.store, home),
            "model_registry": _at_home(self.stores.model_registry, home),
            "deployments": _at_home(self.stores.deployments, home),
        }

    def remote_stores(self, *, deployments: str | None = None) -> dict[str, Any]:
        """Return the pipeline arguments that name stores, for a run on a platform.

        Args:
            deployments: What stands for `stores.deployments` where the configuration leaves it to this machine.

        Raises:
            ConfigurationError: A store is a file of this machine, where no remote task could reach it.
        """
        stores = {
            "feature_store": {"project": self.model.name.replace("-", "_")} | self.features.store,
            "model_registry": self.stores.model_registry,
            "deployments": deployments if deployments is not None and "{home}" in self.stores.deployments else self.stores.deployments,
        }
        keys = {"feature_store": "features.store", "model_registry": "stores.model_registry", "deployments": "stores.deployments"}
        for name, value in stores.items():
            if "{home}" in str(value):
                raise ConfigurationError(
                    f"{keys[name]} is a file of this machine, which no task elsewhere can reach: name a server, in the configuration or under `set` "
                    "of the target in targets.toml"
                )
        return stores


def load_configuration(path: Path, overrides: list[str] | None = None) -> TrainingConfiguration:
    """Read and check a configuration file.

    Args:
        path: A YAML file.
        overrides: `section.key=value` texts, each value YAML, applied over the file.

    Raises:
        ConfigurationError: The file is missing, is not YAML, or says something wrong; the message names the line, the key, and the key that
            was probably meant.
    """
    documents = parse_documents(read_text(path, "`intermodal list` names the shipped configurations"), str(path))
    values, tree = (documents[0].value, documents[0].node) if len(documents) == 1 else (None, None)
    if len(documents) > 1:
        raise ConfigurationError(f"{path}: it has {len(documents)} documents, separated by `---`; a configuration is one")
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path}: expected a mapping of sections, found {type(values).__name__}; see pipelines/flights.yaml")
    for override in overrides or []:
        _override(values, override)
    if place := _nul(values):
        raise ConfigurationError(f"{path}, line {_line(tree, place)}: {'.'.join(map(str, place))}: it has a NUL character; remove it")
    refuse_secrets(values, str(path))
    try:
        return TrainingConfiguration.model_validate(values)
    except ValidationError as error:
        problems = [_in_words(path, tree, problem) for problem in error.errors()]
        raise ConfigurationError("\n".join(dict.fromkeys(problems))) from error


def _override(values: dict[str, Any], override: str) -> None:
    key, found, text = override.partition("=")
    if not found:
        raise ConfigurationError(f"--set {override}: expected KEY=VALUE, for instance gate.minimum.auc=0.7")
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigurationError(f"--set {override}: {parent} is not a section")
    values[last] = parse_value(text, f"--set {key}")


def _nul(value: Any) -> list[Any] | None:
    """Return the place of a text with a NUL, which no file, database or process takes; None when there is none."""
    if isinstance(value, str):
        return [] if "\0" in value else None
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in entries:
        if "\0" in str(key):
            return [repr(key)]
        if (below := _nul(each)) is not None:
            return [key, *below]
    return None


def _in_words(path: Path, tree: yaml.Node | None, problem: Any) -> str:
    location = [part for part in problem["loc"] if not (isinstance(part, str) and part.startswith(("Window", "function-", "constrained")))]
    where = f"{path}, line {_line(tree, location)}: {'.'.join(map(str, location))}"
    if problem["type"] == "extra_forbidden":
        known = list(_fields(location[:-1]))
        close = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"the keys here are {', '.join(known)}"
        return f"{where}: there is no such key; {hint}"
    if problem["type"] == "missing":
        return f"{where}: this key is required"
    return f"{where}: {problem['msg']}, not {problem['input']!r}"


def _fields(location: list[Any]) -> dict[str, Any]:
    """Return the fields of the section at `location`, following sections and lists of them."""
    section: type[BaseModel] = TrainingConfiguration
    for part in location:
        if isinstance(part, int):
            continue
        annotation = section.model_fields[part].annotation if part in section.model_fields else None
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        section = next((each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel)), section)
    return section.model_fields


def _line(tree: yaml.Node | None, location: list[Any]) -> int:
    """Return the line of the deepest node on the way to `location`, from 1."""
    node, line = tree, 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            entry = next(((key, value) for key, value in node.value if key.value == str(part)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            entry = (node.value[part], node.value[part])
        else:
            entry = None
        if entry is None:
            break
        line, node = entry[0].start_mark.line + 1, entry[1]
    return line


def _at_home(value: Any, home: Path) -> Any:
    if isinstance(value, dict):
        return {key: _at_home(each, home) for key, each in value.items()}
    return value.replace("{home}", str(home)) if isinstance(value, str) else value
