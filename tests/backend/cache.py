"""The cache of Kubeflow Pipelines' backend: which task of a run is answered from an earlier one.

After kubeflow/pipelines' backend/src/v2: cacheutils/cache.go (the key), driver/cache.go (what a hit gives), component/importer_launcher.go. An
input artifact counts by its number in the metadata store, not by its content; a task that may not use the cache makes new artifacts each time, so
whatever reads one of them is not answered either. Vertex AI documents the same rule: inputs, artifacts by identifier, and the component's
specification.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from intermodal.runner.inputs import Values


@dataclass
class Cache:
    """What is kept between runs of one pipeline in one namespace."""

    entries: dict[str, Values] = field(default_factory=dict)
    imported: dict[str, dict[str, Any]] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def number(self, artifact: dict[str, Any]) -> dict[str, Any]:
        """Enter a new artifact into the metadata store."""
        return artifact | {"name": str(next(self.numbers))}

    def imports(self, executor: dict[str, Any], uri: str) -> dict[str, Any]:
        """Return the artifact of a URI: the one imported before, unless the importer asks for a new one."""
        metadata = executor.get("metadata", {})
        key = json.dumps([uri, executor["typeSchema"], metadata], sort_keys=True)
        if key not in self.imported or executor.get("reimport"):
            self.imported[key] = self.number({"uri": uri, "type": executor["typeSchema"], "metadata": metadata})
        return self.imported[key]


def cache_key(component: dict[str, Any], container: dict[str, Any], given: dict[str, Any], handed: dict[str, dict[str, Any]]) -> str:
    """Return the key of a task from its component, its container, its parameters and its artifacts."""
    defined = component.get("outputDefinitions", {})
    seen = {
        "inputArtifactNames": {name: [artifact["name"]] for name, artifact in handed.items()},
        "inputParameterValues": given,
        "outputArtifactsSpec": {name: each["artifactType"] for name, each in defined.get("artifacts", {}).items()},
        "outputParametersSpec": {name: each["parameterType"] for name, each in defined.get("parameters", {}).items()},
        "containerSpec": [container["image"], [*container.get("command", []), *container.get("args", [])], container.get("env", [])],
    }
    return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()
