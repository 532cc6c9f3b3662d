"""Reads compiled files, distinguishes them from configurations, and refuses those that a platform would refuse."""

from pathlib import Path
from typing import Any

from intermodal.authoring.platform import remote_platforms
from intermodal.configuration.shipped import find_configuration
from intermodal.linting import lint_documents
from intermodal.runtime.errors import ConfigurationError
from intermodal.runtime.safe_yaml import parse_documents, read_text


def refuse_errors(documents: list[dict[str, Any]], target: str | None, name: str) -> None:
    """Refuse what a platform would refuse.

    Args:
        documents: The specification, and the platform's document if there is one.
        target: A platform; None: only what every platform would refuse.
        name: The file's name in the message.

    Raises:
        ConfigurationError: There are errors; the message has the first five.
    """
    platforms = {target} if target else set(remote_platforms())
    errors = [each for each in lint_documents(documents, target, name) if each.severity == "error" and platforms <= set(each.platforms)]
    if errors:
        lines = [f"{each.where}: {each.what}: {each.why}; {each.remedy} [{each.rule}]" for each in errors[:5]]
        more = f"\n… and {len(errors) - 5} more; `intermodal lint` shows all" if len(errors) > 5 else ""
        raise ConfigurationError("\n".join(lines) + more)


def is_compiled(documents: list[dict[str, Any]]) -> bool:
    """Whether a file's documents are a compiled pipeline, rather than a configuration."""
    return bool({"pipelineInfo", "pipelineSpec", "deploymentSpec", "schemaVersion"} & set(documents[0]))


def read_pipeline(path: Path) -> list[dict[str, Any]]:
    """Return the YAML documents of a configuration, also one that comes with the package, or of a compiled pipeline.

    Raises:
        ConfigurationError: The file is missing, is not YAML, or is neither.
    """
    path = find_configuration(path)
    text = read_text(path, "give a configuration or a compiled pipeline; `intermodal list` names the shipped ones")
    documents = [each.value for each in parse_documents(text, str(path))]
    if not documents or not all(isinstance(each, dict) for each in documents):
        raise ConfigurationError(
            f"{path}: expected a configuration or a compiled pipeline, found {type(documents[0]).__name__ if documents else 'nothing'}"
        )
    return documents
