"""This machine as an entry of `intermodal.platforms`."""

from typing import Any

from intermodal.authoring.platform import Platform
from intermodal.components.serve_model.component import serve_model
from intermodal.platforms.local.settings import LocalSettings


def _open(settings: LocalSettings) -> Any:
    from intermodal.platforms.local.runs import LocalRuns

    return LocalRuns(settings.home)


platform = Platform("local", LocalSettings, _open, deploy=serve_model, deploy_fields={"deployments": (str, "{home}/deployments")}, remote=False)
