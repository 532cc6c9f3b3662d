"""The shipped flights pipeline up to what `train_model` gets of it; the configuration is the shipped one."""

from typing import Any

from kfp import dsl

from intermodal.authoring.pipeline import Pipeline
from intermodal.components.fingerprint_sources.component import fingerprint_sources
from intermodal.components.ingest_tables.component import ingest_tables
from intermodal.components.retrieve_features.component import retrieve_features
from intermodal.components.transform_tables.component import transform_tables
from intermodal.components.validate_data.component import validate_data
from intermodal.pipelines.training.configuration import TrainingConfiguration


def flights_data(settings: Any, deploy: Any) -> None:
    """Make the examples, their schema and their statistics."""
    repository = dsl.importer(artifact_uri=settings.features.repository, artifact_class=dsl.Artifact)
    tables = ingest_tables(fingerprint=fingerprint_sources(sources=settings.data.sources).output, **settings.data)
    transformed = transform_tables(tables=tables.output, repository=repository.output)
    examples = retrieve_features(tables=transformed.output, repository=repository.output, **settings.features)
    validate_data(examples=examples.output, label=settings.label, **settings.validation)


pipeline = Pipeline("flights-data", flights_data, TrainingConfiguration)
