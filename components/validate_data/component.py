"""Contract of `validate_data`."""

from typing import NamedTuple, Optional

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="validate")
def validate_data(
    examples: dsl.Input[dsl.Dataset],
    statistics: dsl.Output[dsl.Artifact],
    schema: dsl.Output[dsl.Artifact],
    anomalies: dsl.Output[dsl.Artifact],
    view: dsl.Output[dsl.HTML],
    label: str = "",
    baseline: dsl.Input[dsl.Artifact] = None,
    schema_text: str = "",
    ignored: list = [],
    skew: Optional[float] = None,
    drift: Optional[float] = None,
    feature_skew: dict = {},
    feature_drift: dict = {},
    warn: list = ["SKEW", "DRIFT"],
    evolve: bool = True,
    min_domain_mass: float = 0.9,
    missing: float = 0.1,
    domain_size: int = 100,
    beam_options: list = [],
) -> NamedTuple("Outputs", [("passed", bool)]):  # type: ignore[valid-type]
    """Compute statistics of a table, infer or extend its schema, and say in words what is wrong with the data, with TFDV.

    The task succeeds whatever it finds: `require_valid_data`, given its `anomalies`, fails where there are errors.

    Args:
        examples: A Parquet or CSV file, a directory of them, or a directory with one directory for each split, of which one is `train`.
        statistics: A directory: `<split>.pb`, one DatasetFeatureStatisticsList each; without splits `train.pb`.
        schema: A directory: `schema.pbtxt`, a TFMD schema.
        anomalies: A directory: `anomalies.json` (the verdict, and each anomaly in words) and `anomalies.pbtxt` (the same for TFDV's tools).
        view: A page with the statistics of all splits side by side.
        label: The label's column, which must be there in every split, without nulls, 0 or 1, and both. Empty: there is none.
        baseline: A directory with an earlier `statistics/train.pb` and `schema.pbtxt`, as `fetch_champion` writes it. Without it, or where it is
            empty, nothing is compared for drift, and the schema is inferred from `train`.
        schema_text: A TFMD schema in text form to validate against; takes precedence over the baseline's. Empty: none.
        ignored: Columns that are neither features nor label (keys, timestamps): left out of schema and statistics.
        skew: Distance from `train`, 0 to 1, above which a feature of another split is an anomaly: L-infinity for text, Jensen-Shannon for
            numbers. Default: for each feature what its own noise within `train` explains.
        drift: The same for `train` against the baseline's `train`.
        feature_skew: `skew` for single features: feature to distance.
        feature_drift: `drift` for single features: feature to distance.
        warn: Kinds of anomaly that are warnings and not errors: names of TFMD's AnomalyInfo.Type, SKEW, DRIFT, NO_ROWS, UNSUPPORTED_TYPE or
            IGNORED_MISSING. What is wrong with the label is always an error.
        evolve: Whether columns and categories that are new in `train` extend the schema that was given, with a warning, instead of being errors.
        min_domain_mass: Share of a text feature's values, 0 to 1, that must be categories known from `train`.
        missing: How far the share of rows without a value may rise, 0 to 1, above its highest in any block of `train`.
        domain_size: Text with at most so many different values in `train` is categorical.
        beam_options: Apache Beam pipeline options. Empty: the statistics are computed on this machine, a batch of rows at a time.

    Returns:
        passed: Whether no anomaly is an error.
    """
    from intermodal.components.validate_data.logic import validate_data

    passed = validate_data(
        examples_path=examples.path,
        baseline_path=baseline.path if baseline else None,
        label=label,
        schema_text=schema_text,
        ignored=ignored,
        skew=skew,
        drift=drift,
        feature_skew=feature_skew,
        feature_drift=feature_drift,
        warn=warn,
        evolve=evolve,
        min_domain_mass=min_domain_mass,
        missing=missing,
        domain_size=domain_size,
        beam_options=beam_options,
        statistics_path=statistics.path,
        schema_path=schema.path,
        anomalies_path=anomalies.path,
        view_path=view.path,
        examples_uri=examples.uri,
    )
    return (passed,)
