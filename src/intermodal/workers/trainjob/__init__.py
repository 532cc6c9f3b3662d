"""Workers as pods of a TrainJob of Kubeflow Trainer (v2)."""
