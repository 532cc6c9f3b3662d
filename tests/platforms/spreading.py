"""A pipeline whose one task has workers, and says of each its place: what becomes of it on a platform is seen without training anything."""

from kfp import dsl

from intermodal.authoring.decorator import component
from intermodal.authoring.pipeline import Pipeline
from intermodal.configuration.sections import Configuration, section


@component(image="train")
def say_place(places: dsl.Output[dsl.Artifact], note: str = 'it\'s "quoted" {x}', fails: bool = False, waits: str = "", workers: int = 1) -> str:
    """Write down what each worker is told of its place."""
    import json
    import os
    import time
    from pathlib import Path

    cluster = json.loads(os.environ.get("CLUSTER_SPEC", '{"task": {"type": "workerpool0", "index": 0}}'))
    config = json.loads(os.environ.get("TF_CONFIG", "{}"))
    here = f"{cluster['task']['type']}-{cluster['task']['index']}"
    print(f"{here} starts", flush=True)
    while waits and not Path(waits).exists():
        time.sleep(0.05)
    if fails and cluster["task"]["type"] == "workerpool1":
        raise ValueError(f"worker {here}: no GPU is left")
    Path(places.path).mkdir(parents=True, exist_ok=True)
    (Path(places.path) / f"{here}.json").write_text(json.dumps({"note": note, "workers": workers, "config": config}))
    return here


@component(image="train")
def wait(timeout: float = 1.0, workers: int = 1):
    """Have a parameter that a CustomJob has too."""


class Settings(Configuration):
    """One section."""

    training = section(say_place)


class Named(Configuration):
    """One section."""

    training = section(wait)


def spread(settings):
    """Say each worker's place."""
    say_place(**settings.training).set_display_name("train-model")


def named(settings):
    """Wait."""
    wait(**settings.training)


pipeline = Pipeline("spread", spread, Settings)
other = Pipeline("named", named, Named)
