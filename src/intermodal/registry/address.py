"""What names a model in a registry: the registry's URI and the model's name, checked before anything starts."""

from pathlib import Path

from intermodal.runtime.arguments import ArgumentError
from intermodal.runtime.secret_values import named_variables, refuse_secrets


def database_file(registry: str) -> Path | None:
    """Return the file of a local SQLite registry; None for every other URI."""
    return Path(registry.removeprefix("sqlite:///")) if registry.startswith("sqlite:///") else None


def check_address(name: str, registry: str) -> None:
    """Check the name of a registered model and the URI of its registry.

    Raises:
        ArgumentError: MLflow takes no such name, or the URI is of another kind than SQLite or HTTP, or has a variable.
        ConfigurationError: The URI carries a password.
    """
    check_registry(registry)
    if not name.strip() or {"/", ":"} & set(name):
        raise ArgumentError("name", f"{name!r} must be a text without '/' and ':', for instance fraud")


def check_registry(registry: str) -> None:
    """Check the URI of a registry.

    Raises:
        ArgumentError: It is of another kind than SQLite or HTTP, or has a variable.
        ConfigurationError: It carries a password.
    """
    refuse_secrets(registry, "registry")
    if named_variables(registry):
        reason = "${NAME} is a variable only in features.store; MLflow reads MLFLOW_TRACKING_USERNAME and _PASSWORD itself"
        raise ArgumentError("registry", f"{registry!r}: {reason}")
    if not registry.startswith(("sqlite:///", "http://", "https://")):
        raise ArgumentError("registry", f"{registry!r} must be sqlite:////path/to/file.db, or the http(s):// address of an MLflow server")
