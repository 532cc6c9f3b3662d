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
    false_alarms: float = 0.05,
    scale: float = 3.0,
    outside: float = 0.5,
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
        statistics: A directory: `<split>.pb`, one DatasetFeatureStatisticsList each; without splits `train.pb`. And `blocks.json`: how each
            feature of `train` varies over its blocks, for the next run to compare with.
        schema: A directory: `schema.pbtxt`, a TFMD schema.
        anomalies: A directory: `anomalies.json` (the verdict, and each anomaly in words) and `anomalies.pbtxt` (the same for TFDV's tools).
        view: A page with the statistics of all splits side by side.
        label: The label's column, which must be there in every split, without nulls, 0 or 1, and both. Empty: there is none.
        baseline: A directory with an earlier `statistics/` (`train.pb`, `blocks.json`) and `schema.pbtxt`, as `fetch_champion` writes it.
            Without it, or where it is empty, nothing is compared for drift, and the schema is inferred from `train`.
        schema_text: A TFMD schema in text form to validate against; takes precedence over the baseline's. Empty: none.
        ignored: Columns that are neither features nor label (keys, timestamps): left out of schema and statistics.
        skew: Distance from `train`, 0 to 1, above which a feature of another split is an anomaly: L-infinity for text, Jensen-Shannon for
            numbers. Default: a test of whether chance explains the difference, for rows that depend on each other as those of the blocks of
            `train` do (docs/explanation/drift.md).
        drift: The same for `train` against the baseline's `train`.
        feature_skew: `skew` for single features: feature to distance. A feature whose distance is 1 is not searched for damage either.
        feature_drift: `drift` for single features, likewise.
        false_alarms: Probability, between 0 and 1, that a run whose data does not differ has any alarm, over all features and splits: half of it
            for SKEW and DRIFT, half for the search for damage.
        scale: Factor above 1 by which the typical size or the spread of a number may leave the range that it has in the blocks of `train`:
            beyond is an error (SCALE). Where a known factor between units explains the change, 1.5 is enough.
        outside: Share of a split's rows, 0 to 1, with a number outside the range of `train`, beyond which it is an error (OUT_OF_RANGE); of
            numbers that grow, the share that any block has outside the others' comes on top.
        warn: Kinds of anomaly that are warnings and not errors: names of TFMD's AnomalyInfo.Type, SKEW, DRIFT, SCALE, UNIT, CONSTANT,
            OUT_OF_RANGE, EXCHANGED, NEW_VALUES, NO_ROWS, UNSUPPORTED_TYPE or IGNORED_MISSING. What is wrong with the label is always an error.
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
        false_alarms=false_alarms,
        scale=scale,
        outside=outside,
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
