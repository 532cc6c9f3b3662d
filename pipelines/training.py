"""The training pipeline: from files to a served model and a report."""

from collections.abc import Callable
from typing import Any

from kfp import dsl

from intermodal.components.evaluate_model.component import evaluate_model
from intermodal.components.fetch_champion.component import fetch_champion
from intermodal.components.find_champion.component import find_champion
from intermodal.components.fingerprint_sources.component import fingerprint_sources
from intermodal.components.gate_model.component import gate_model
from intermodal.components.ingest_tables.component import ingest_tables
from intermodal.components.materialize_features.component import materialize_features
from intermodal.components.register_model.component import register_model
from intermodal.components.render_report.component import render_report
from intermodal.components.retrieve_features.component import retrieve_features
from intermodal.components.train_model.component import train_model
from intermodal.components.transform_tables.component import transform_tables
from intermodal.components.validate_data.component import validate_data


def training_pipeline(deploy: Callable[..., Any] | None) -> Any:
    """Return the training pipeline for a platform.

    Args:
        deploy: The component that brings a model that passed the gate to serve, with the inputs and outputs of `serve_model`, or a function of
            such inputs that adds several tasks and returns the last; None: the pipeline ends with the registered model.
    """

    @dsl.pipeline(name="training", description="Ingest, validate, join features, train, evaluate, gate, register, deploy and report.")
    def training(
        title: str,
        sources: list,
        split: dict,
        repository: str,
        feature_service: str,
        spine: str,
        feature_store: dict,
        feature_data_version: str,
        label: str,
        schema_text: str,
        ignored: list,
        validation_rules: dict,
        beam_options: list,
        model_function: str,
        hyperparameters: dict,
        seed: int,
        block: str,
        slices: list,
        gate_rules: dict,
        model_registry: str,
        model_name: str,
        deployments: str,
        service_name: str,
        serving: dict,
    ):
        code = dsl.importer(artifact_uri=repository, artifact_class=dsl.Artifact)
        found = find_champion(model_registry=model_registry, model_name=model_name)
        champion = fetch_champion(
            model_registry=model_registry,
            model_name=model_name,
            version=found.outputs["version"],
            model_sha256=found.outputs["model_sha256"],
        )

        tables = ingest_tables(sources=sources, split=split, fingerprint=fingerprint_sources(sources=sources).output)
        transformed = transform_tables(tables=tables.output, repository=code.output)
        examples = retrieve_features(
            tables=transformed.output,
            repository=code.output,
            feature_service=feature_service,
            spine=spine,
            feature_store=feature_store,
            data_version=feature_data_version,
        )
        data = validate_data(
            examples=examples.output,
            baseline=champion.output,
            label=label,
            schema_text=schema_text,
            ignored=ignored,
            rules=validation_rules,
            beam_options=beam_options,
        )
        materialized = materialize_features(
            tables=transformed.output, repository=code.output, feature_service=feature_service, feature_store=feature_store
        ).after(data)

        trained = train_model(
            examples=examples.output,
            schema=data.outputs["schema"],
            statistics=data.outputs["statistics"],
            repository=code.output,
            label=label,
            model_function=model_function,
            hyperparameters=hyperparameters,
            seed=seed,
        )
        model, history = trained.outputs["model"], trained.outputs["training"]
        evaluated = evaluate_model(
            model=model, champion=champion.output, examples=examples.output, label=label, block=block, slices=slices, seed=seed
        )
        evaluation = evaluated.outputs["evaluation"]
        gate = gate_model(evaluation=evaluation, predictions=evaluated.outputs["predictions"], rules=gate_rules, seed=seed)
        registered = register_model(
            model=model,
            training=history,
            schema=data.outputs["schema"],
            statistics=data.outputs["statistics"],
            evaluation=evaluation,
            decision=gate.outputs["decision"],
            tables=tables.output,
            repository=code.output,
            model_registry=model_registry,
            model_name=model_name,
            parameters=hyperparameters,
            run_name=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
        ).after(materialized)  # no champion, and so no server, of features that could not be loaded

        story = {"registration": registered.output, "anomalies": data.outputs["anomalies"], "title": title}
        if deploy is None:
            render_report(**story)
            return
        # Two conditions, not an if and an else, which the compiler would put into a third graph, without a name, around both.
        with dsl.If(gate.outputs["Output"] == True, "passed"):  # noqa: E712
            deployed = deploy(
                model=model,
                evaluation=evaluation,
                registration=registered.output,
                deployments=deployments,
                service_name=service_name,
                serving=serving,
            )
            render_report(**story, deployment=deployed.output)
        with dsl.If(gate.outputs["Output"] == False, "blocked"):  # noqa: E712
            render_report(**story)

    return training
