"""This machine's table in `targets.toml`."""

import os
from pathlib import Path
from typing import Any

from pydantic import Field

from intermodal.configuration.targets import Table


class LocalSettings(Table):
    """This machine."""

    home: Path = Field(default_factory=lambda: Path(os.environ.get("INTERMODAL_HOME") or ".intermodal"))
    parallelism: int | None = Field(None, ge=1, description="How many tasks run at the same time; default: as many as there are cores")
    set: dict[str, Any] = Field({}, description="Configuration keys that differ here, as with --set")
