"""How secrets reach a task: by a variable of its environment, named `${NAME}` where a setting takes one, and never as a value in a setting."""

import os
from typing import Any

from intermodal.runtime.errors import ConfigurationError
from intermodal.runtime.redaction import PLACEHOLDER, find_secret, remember

_REMEDY = (
    "take it out and give the tasks a secret: in features.store write ${NAME} for a variable, for MLflow set MLFLOW_TRACKING_USERNAME and "
    "MLFLOW_TRACKING_PASSWORD; on a cluster a Kubernetes secret holds them (tasks.NAME.secrets in targets.toml), on this machine the environment"
)
#: Mappings whose keys are a user's names: of columns, or of variables.
_USERS_NAMES = frozenset({"columns", "env"})


def refuse_secrets(settings: Any, where: str, remedy: str = _REMEDY) -> None:
    """Refuse settings that hold a password or token: they are recorded as parameters, and stand in logs and artifacts.

    Args:
        settings: Mappings, lists, texts.
        where: What they are of, for the message.
        remedy: How to give the secret instead.

    Raises:
        ConfigurationError: A value is, or holds, a secret. The message names its key and does not show it.
    """
    if (key := find_secret(settings, ignored=_USERS_NAMES)) is not None:
        place = f"{where}: {key}" if where and key else where or key
        raise ConfigurationError(f"{place} carries a password or token, which parameters, logs and artifacts would show; {remedy}")


def named_variables(settings: Any) -> set[str]:
    """Return the variables that `${NAME}` stands for anywhere in some settings."""
    if isinstance(settings, dict):
        return set().union(*map(named_variables, settings.values()))
    if isinstance(settings, list):
        return set().union(*map(named_variables, settings))
    return set(PLACEHOLDER.findall(settings)) if isinstance(settings, str) else set()


def with_variables(settings: Any, where: str) -> Any:
    """Return settings in which the environment's value stands for each `${NAME}`; whatever this process prints has the name again.

    Args:
        settings: Mappings, lists, texts.
        where: Their dotted key, for the message.

    Raises:
        ConfigurationError: A variable is not set.
    """
    if isinstance(settings, dict):
        return {key: with_variables(each, f"{where}.{key}") for key, each in settings.items()}
    if isinstance(settings, list):
        return [with_variables(each, f"{where}.{index}") for index, each in enumerate(settings)]
    if not isinstance(settings, str):
        return settings
    for name in PLACEHOLDER.findall(settings):
        if not os.environ.get(name):
            raise ConfigurationError(f"{where}: the variable {name} is not set in the task's environment; give the task the secret that holds it")
        remember(os.environ[name], f"${{{name}}}")
    return PLACEHOLDER.sub(lambda match: os.environ[match[1]], settings)
