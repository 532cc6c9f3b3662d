"""What starts the workers of one task and follows them: a TrainJob of Kubeflow Trainer, or processes of this machine."""
