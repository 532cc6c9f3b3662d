"""Contract of `render_report`."""

from kfp import dsl

from intermodal.component import component


@component(image="track")
def render_report(
    tables: dsl.Input[dsl.Dataset],
    statistics: dsl.Input[dsl.Artifact],
    anomalies: dsl.Input[dsl.Artifact],
    champion: dsl.Input[dsl.Model],
    training: dsl.Input[dsl.Artifact],
    evaluation: dsl.Input[dsl.Artifact],
    decision: dsl.Input[dsl.Artifact],
    registration: dsl.Input[dsl.Artifact],
    title: str,
    report: dsl.Output[dsl.HTML],
    deployment: dsl.Input[dsl.Artifact] = None,
):
    """Render one self-contained HTML page about a run: verdicts, data, drift, curves, slices, champion, lineage, how to call the model.

    Args:
        tables: As `ingest_tables` writes them (the manifest).
        statistics: As `validate_data` writes them.
        anomalies: As `validate_data` writes them.
        champion: As `fetch_champion` writes it.
        training: As `train_model` writes it.
        evaluation: As `evaluate_model` writes it.
        decision: As `gate_model` writes it.
        registration: As `register_model` writes it.
        title: The page's title.
        report: The page, one HTML file.
        deployment: As `serve_model` or `deploy_model` write it; absent when the gate blocked.
    """
    from intermodal.components.render_report.logic import render_report

    render_report(
        tables_path=tables.path,
        statistics_path=statistics.path,
        anomalies_path=anomalies.path,
        champion_path=champion.path,
        training_path=training.path,
        evaluation_path=evaluation.path,
        decision_path=decision.path,
        registration_path=registration.path,
        deployment_path=deployment.path if deployment else None,
        title=title,
        report_path=report.path,
    )
