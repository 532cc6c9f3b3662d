"""Contract of `render_report`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="track")
def render_report(
    registration: dsl.Input[dsl.Artifact],
    anomalies: dsl.Input[dsl.Artifact],
    title: str,
    report: dsl.Output[dsl.HTML],
    deployment: dsl.Input[dsl.Artifact] = None,
    tables: dsl.Input[dsl.Dataset] = None,
    statistics: dsl.Input[dsl.Artifact] = None,
    training: dsl.Input[dsl.Artifact] = None,
    evaluation: dsl.Input[dsl.Artifact] = None,
    decision: dsl.Input[dsl.Artifact] = None,
):
    """Render one self-contained HTML page about a run: verdicts, data, drift, curves, slices, champion, lineage, how to call the model.

    Args:
        registration: As `register_model` writes it: the version, and the evidence it was registered with.
        anomalies: As `validate_data` writes them.
        title: The page's title.
        report: The page, one HTML file.
        deployment: As `serve_model` or `deploy_kserve` write it. Default: nothing was deployed.
        tables: As `ingest_tables` writes them (the manifest). Default: what `registration` holds.
        statistics: As `validate_data` writes them. Default: what `registration` holds.
        training: As `train_model` writes it. Default: what `registration` holds.
        evaluation: As `evaluate_model` writes it. Default: what `registration` holds.
        decision: As `gate_model` writes it. Default: what `registration` holds.
    """
    from intermodal.components.render_report.logic import render_report

    render_report(
        registration_path=registration.path,
        anomalies_path=anomalies.path,
        deployment_path=deployment.path if deployment else None,
        tables_path=tables.path if tables else None,
        statistics_path=statistics.path if statistics else None,
        training_path=training.path if training else None,
        evaluation_path=evaluation.path if evaluation else None,
        decision_path=decision.path if decision else None,
        title=title,
        report_path=report.path,
    )
