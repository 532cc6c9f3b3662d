"""The training pipeline: from files to a served model and a report."""

from intermodal.authoring.pipeline import Pipeline
from intermodal.pipelines.training.configuration import TrainingConfiguration
from intermodal.pipelines.training.pipeline import training
from intermodal.pipelines.training.summary import summary

pipeline = Pipeline("training", training, TrainingConfiguration, summary)
