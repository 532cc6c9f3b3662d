"""Contract of `validate_data`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="validate")
def validate_data(
    examples: dsl.Input[dsl.Dataset],
    baseline: dsl.Input[dsl.Artifact],
    label: str,
    schema_text: str,
    ignored: list,
    rules: dict,
    beam_options: list,
    statistics: dsl.Output[dsl.Artifact],
    schema: dsl.Output[dsl.Artifact],
    anomalies: dsl.Output[dsl.Artifact],
    view: dsl.Output[dsl.HTML],
):
    """Compute statistics of every split, infer or evolve a schema, and stop the run when the data breaks it, with TFDV.

    Args:
        examples: A directory: `<part>/*.parquet`.
        baseline: A directory with an earlier run's `statistics/` and `schema.pbtxt`, as `fetch_champion` writes it; without them nothing
            is compared for drift, and the schema is inferred from the part `train`.
        label: The label's column: must be there, without nulls, with more than one value in every part.
        schema_text: A TFMD schema in text form to hold the data to; takes precedence over the baseline's. Empty: none.
        ignored: Columns that are neither features nor label (keys, timestamps): kept in the data, left out of schema and statistics.
        rules: `skew` and `drift`: L-infinity (categorical) and Jensen-Shannon (numeric) distances above which a feature is an anomaly, a
            number or one for each feature named, by default calibrated per feature from the noise within the window; `warn`: kinds of
            anomaly that do not stop the run (default SKEW and DRIFT); `evolve`: whether new columns and categories extend a kept schema
            (default true); `min_domain_mass`: share of values that must be known categories (default 0.9); `missing`: how far the share
            of missing values may rise (default 0.1); `domain_size`: how many different values text may have to be categorical (default
            100).
        beam_options: Apache Beam pipeline options; empty: the statistics are computed in this process, streaming.
        statistics: A directory: `<part>.pb`, one DatasetFeatureStatisticsList each.
        schema: A directory: `schema.pbtxt`.
        anomalies: A directory: `anomalies.json` (verdict, and each anomaly in words) and `anomalies.pbtxt`.
        view: TFDV's own view of the statistics, splits side by side.
    """
    from intermodal.components.validate_data.logic import validate_data

    validate_data(
        examples_path=examples.path,
        baseline_path=baseline.path,
        label=label,
        schema_text=schema_text,
        ignored=ignored,
        rules=rules,
        beam_options=beam_options,
        statistics_path=statistics.path,
        schema_path=schema.path,
        anomalies_path=anomalies.path,
        view_path=view.path,
        examples_uri=examples.uri,
    )
