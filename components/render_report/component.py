"""Contract of `render_report`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="track")
def render_report(
    report: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Markdown],
    title: str = "Report",
    registration: dsl.Input[dsl.Artifact] = None,
    promotion: dsl.Input[dsl.Artifact] = None,
    deployment: dsl.Input[dsl.Artifact] = None,
    anomalies: dsl.Input[dsl.Artifact] = None,
    statistics: dsl.Input[dsl.Artifact] = None,
    training: dsl.Input[dsl.Artifact] = None,
    search: dsl.Input[dsl.Dataset] = None,
    evaluation: dsl.Input[dsl.Artifact] = None,
    decision: dsl.Input[dsl.Artifact] = None,
    tables: dsl.Input[dsl.Dataset] = None,
    metrics: dsl.Input[dsl.Metrics] = None,
):
    """Render one self-contained HTML page about a run, from whichever artifacts there are; each section is there when its artifact is.

    At least one artifact is required.

    Args:
        report: The page, one HTML file.
        summary: The page's first lines and its metrics, one Markdown file.
        title: The page's title.
        registration: As `register_model` writes it: the version, its lineage, and whatever it was registered with.
        promotion: As `promote_model` writes it: whether the version is the champion, and which was before.
        deployment: As `serve_model` or `deploy_kserve` write it: where the model answers, with a request and its response.
        anomalies: As `validate_data` writes them: anomalies, drift and skew.
        statistics: As `validate_data` writes them: distributions of the features. Default: those in `registration`.
        training: As `train_model` writes it: learning curves, and what a repetition needs. Default: those in `registration`.
        search: As `tune_model` writes its history: how the trials ended, the best hyperparameters, and how much each mattered.
        evaluation: As `evaluate_model` writes it: metrics, curves, slices, the comparison with the champion. Default: the one in `registration`.
        decision: As `gate_model` writes it: the verdict and its rules. Default: the one in `registration`.
        tables: As `ingest_tables` writes them: rows of each table and split. Default: those in `registration`.
        metrics: Numbers by name, of whatever component measured them.
    """
    from intermodal.components.render_report.logic import render_report

    given = {"registration": registration, "deployment": deployment, "anomalies": anomalies, "statistics": statistics, "training": training}
    given |= {"evaluation": evaluation, "decision": decision, "tables": tables, "promotion": promotion, "search": search}
    render_report(
        title=title,
        **{f"{name}_path": artifact.path if artifact else None for name, artifact in given.items()},
        metrics=metrics.metadata if metrics else {},
        report_path=report.path,
        summary_path=summary.path,
    )
