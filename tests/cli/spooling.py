"""A platform of somebody else's: a folder from which another program takes runs. `test_own_platform.py` installs it."""

import json
from pathlib import Path

from kfp import dsl
from pydantic import Field

from intermodal.authoring.decorator import component
from intermodal.authoring.platform import Platform
from intermodal.compiler.resources import cpu_and_memory
from intermodal.configuration.targets import RemoteSettings
from intermodal.platforms.interface import RemoteRun
from intermodal.runtime.errors import PlatformError


class SpoolSettings(RemoteSettings):
    """A spool folder."""

    spool: Path = Field(description="The folder that runs are written to")
    storage: str | None = Field(None, description="S3-compatible store of `root`")

    @property
    def root_endpoint(self):
        return self.storage


class Spool:
    name = "spool"

    def __init__(self, settings):
        self._folder = settings.spool

    def submit(self, submission):
        folder = self._folder / submission.key
        if not folder.exists():
            folder.mkdir(parents=True)
            (folder / "run.json").write_text(json.dumps({"pipeline": submission.specification, "parameters": submission.parameters}))
        return self.run(submission.key)

    def run(self, run_id):
        if not (self._folder / run_id).is_dir():
            raise PlatformError(f"{self._folder}: there is no run {run_id!r}")
        return RemoteRun(run_id, run_id, run_id, "pending", (self._folder / run_id).as_uri())


@component(image="serve", cached=False)
def publish_model(
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    registration: dsl.Input[dsl.Artifact],
    deployment: dsl.Output[dsl.Artifact],
    name: str,
    copies: int = 1,
    inbox: str = "",
):
    """Publish a model.

    Args:
        model: The model.
        evaluation: As `evaluate_model` writes it.
        registration: As `register_model` writes it.
        deployment: What was published.
        name: The service's name.
        copies: How many.
        inbox: Where to.
    """


platform = Platform(
    "spool",
    SpoolSettings,
    Spool,
    deploy=publish_model,
    known=lambda settings, digests: {"serving.spool.inbox": str(settings.spool / "models")},
    resources=lambda name, shape: cpu_and_memory(shape, "Limit"),
    rules="spooling_rules",
)
