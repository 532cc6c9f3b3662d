"""The training pipeline: wiring only."""

from typing import Any

from kfp import dsl

from intermodal.components.evaluate_model.component import evaluate_model
from intermodal.components.fetch_champion.component import fetch_champion
from intermodal.components.find_champion.component import find_champion
from intermodal.components.fingerprint_sources.component import fingerprint_sources
from intermodal.components.gate_model.component import gate_model
from intermodal.components.ingest_tables.component import ingest_tables
from intermodal.components.materialize_features.component import materialize_features
from intermodal.components.promote_model.component import promote_model
from intermodal.components.register_model.component import register_model
from intermodal.components.render_report.component import render_report
from intermodal.components.require_valid_data.component import require_valid_data
from intermodal.components.retrieve_features.component import retrieve_features
from intermodal.components.train_model.component import train_model
from intermodal.components.transform_tables.component import transform_tables
from intermodal.components.tune_model.component import tune_model
from intermodal.components.validate_data.component import validate_data
from intermodal.configuration.sections import inputs_of


def training(settings: Any, deploy: Any) -> None:
    """Ingest, validate, join features, train, evaluate, gate, register, deploy, promote and report.

    Args:
        settings: The channels of `TrainingConfiguration`.
        deploy: The platform's step that brings a model that passed the gate to serve; None: nothing is served, and the
            model is promoted once it is registered.
    """
    features = settings.features
    repository = dsl.importer(artifact_uri=features.repository, artifact_class=dsl.Artifact)
    # The model's code is an artifact of its own, where there is any: editing it runs no transform again.
    code = {"code": dsl.importer(artifact_uri=settings.training.code, artifact_class=dsl.Artifact).output} if settings.training.code else {}
    found = find_champion(name=settings.name, registry=settings.registry)
    champion = fetch_champion(
        name=settings.name,
        registry=settings.registry,
        version=found.outputs["version"],
        model_sha256=found.outputs["model_sha256"],
        reference=found.outputs["reference"],
    )

    tables = ingest_tables(fingerprint=fingerprint_sources(sources=settings.data.sources).output, **settings.data)
    transformed = transform_tables(tables=tables.output, repository=repository.output)
    examples = retrieve_features(tables=transformed.output, repository=repository.output, **features)
    data = validate_data(examples=examples.output, baseline=champion.output, label=settings.label, **settings.validation)
    valid = require_valid_data(anomalies=data.outputs["anomalies"])
    materialized = materialize_features(
        tables=transformed.output,
        repository=repository.output,
        service=features.service,
        store=features.store,
        filter_by_created_timestamp=features.filter_by_created_timestamp,
    ).after(valid)

    rows = {"examples": examples.output, "schema": data.outputs["schema"], "statistics": data.outputs["statistics"], **code}
    tuned, searched = {}, {}
    if settings.tuning is not None:
        same = {name: settings.training[name] for name in inputs_of(tune_model) if name in settings.training}
        search = tune_model(**rows, label=settings.label, seed=settings.seed, **same, **settings.tuning).after(valid)
        tuned, searched = {"tuned": search.outputs["best"]}, {"search": search.outputs["history"]}
    trained = train_model(**rows, **tuned, label=settings.label, seed=settings.seed, **settings.training).after(valid)
    model = trained.outputs["model"]
    evaluated = evaluate_model(
        model=model, champion=champion.output, examples=examples.output, label=settings.label, seed=settings.seed, **settings.evaluation
    )
    evaluation = evaluated.outputs["evaluation"]
    gate = gate_model(
        evaluation=evaluation,
        predictions=evaluated.outputs["predictions"],
        judged=found.outputs["judged"],
        seed=settings.seed,
        **settings.gate,
    )
    registered = register_model(
        model=model,
        training=trained.outputs["training"],
        schema=data.outputs["schema"],
        statistics=data.outputs["statistics"],
        evaluation=evaluation,
        decision=gate.outputs["decision"],
        tables=tables.output,
        repository=repository.output,
        **code,
        name=settings.name,
        registry=settings.registry,
        parameters=settings.training.hyperparameters,
        run_name=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
    ).after(materialized)  # no server, and so no champion, of features that could not be loaded

    registration = registered.outputs["registration"]
    reported = {"registration": registration, "anomalies": data.outputs["anomalies"], **searched, "title": settings.title}
    # Two conditions, not an if and an else, which the compiler would put into a third graph, without a name, around both.
    with dsl.If(gate.outputs["Output"] == True, "passed"):  # noqa: E712
        served = {}
        if deploy:
            deployed = deploy(model=model, evaluation=evaluation, registration=registration, name=settings.name, **settings.serving)
            served = {"deployment": deployed.output}
        # The alias moves only to what serves and answers right: a deployment that fails leaves the champion as it was.
        promoted = promote_model(registration=registration, registry=settings.registry, **served)
        render_report(**reported, promotion=promoted.output, **served)
    with dsl.If(gate.outputs["Output"] == False, "blocked"):  # noqa: E712
        render_report(**reported)
