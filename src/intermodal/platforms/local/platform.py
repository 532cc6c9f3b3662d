"""This machine as an entry of `intermodal.platforms`."""

from typing import Any

from intermodal.authoring.platform import Platform
from intermodal.components.serve_model.component import serve_model
from intermodal.platforms.local.settings import LocalSettings


def _open(settings: LocalSettings) -> Any:
    from intermodal.platforms.local.runs import LocalRuns

    return LocalRuns(settings.home)


_FIELDS = {"deployments": (str, "{home}/deployments"), "weights": list[int], "tolerated": dict[str, float], "harm": dict[str, float]}
platform = Platform("local", LocalSettings, _open, deploy=serve_model, deploy_fields=_FIELDS, remote=False)
