"""What kfp's launcher asks of a task: the executor input on its command line, and the local paths that go with its URIs."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from intermodal.runtime.errors import ConfigurationError

_OPTION: Final = "--executor_input"
_FUNCTION: Final = "--function_to_execute"
#: Where kfp has the content of a URI, by its scheme.
FOLDERS: Final = {"gs://": "/gcs/", "s3://": "/s3/", "minio://": "/minio/"}


@dataclass(frozen=True)
class Stored:
    """An artifact: its name, where the platform stores it, and where the task has it."""

    name: str
    uri: str
    path: Path


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        name: The component's name.
        content: The executor input, as kfp writes it.
    """

    name: str
    content: dict[str, Any]

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters' values."""
        found: dict[str, Any] = self.content.get("inputs", {}).get("parameterValues", {})
        return found

    @property
    def inputs(self) -> list[Stored]:
        """The artifacts that are read."""
        return list(self._artifacts("inputs"))

    @property
    def outputs(self) -> list[Stored]:
        """The artifacts that are written."""
        return list(self._artifacts("outputs"))

    @property
    def output_parameters(self) -> dict[str, Path]:
        """The files that output parameters are written to, by name."""
        found = self.content.get("outputs", {}).get("parameters", {})
        return {name: Path(each["outputFile"]) for name, each in found.items() if each.get("outputFile")}

    @property
    def executor_output(self) -> Path:
        """The file that kfp's executor writes at its end."""
        return Path(self.content.get("outputs", {}).get("outputFile") or "/tmp/kfp_outputs/output_metadata.json")  # noqa: S108

    def _artifacts(self, kind: str) -> Iterator[Stored]:
        for name, found in self.content.get(kind, {}).get("artifacts", {}).items():
            for each in found.get("artifacts", []):
                scheme = next((scheme for scheme in FOLDERS if each.get("uri", "").startswith(scheme)), None)
                if scheme is None:
                    raise ConfigurationError(
                        f"the artifact {name!r} is at {each.get('uri')!r}, which workers on other machines cannot reach; use a root that starts with "
                        f"{', '.join(FOLDERS)}, or workers=1"
                    )
                path = each.get("customPath") or each.get("custom_path") or FOLDERS[scheme] + each["uri"].removeprefix(scheme)
                yield Stored(name, each["uri"], Path(path))


def task_of(command: list[str]) -> Task | None:
    """Return the task that a command line runs, or None where it is not kfp's executor.

    Args:
        command: Program and arguments, after kfp's launcher has put in the values.
    """
    found = {word: command[index + 1] for index, word in enumerate(command[:-1]) if word in (_OPTION, _FUNCTION)}
    try:
        content = json.loads(found.get(_OPTION, ""))
    except ValueError:
        return None
    return Task(found.get(_FUNCTION, "task"), content) if isinstance(content, dict) else None
