"""Values of hyperparameters as texts, which is all that services for tuning keep; a shell and a JSON around them change nothing."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from intermodal.runtime.errors import ConfigurationError

_PLAIN: Final = re.compile(r"[A-Za-z][\w.-]*", re.ASCII)
#: What stays readable of the JSON of a choice; the rest is percent-encoded.
_SAFE: Final = "[]{},:-._"


def labels(choices: Sequence[Any]) -> list[str]:
    """Return a text for each choice, all different: words as they are, other values as JSON."""
    return [_label(each) for each in choices]


def decode(space: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the values that texts stand for.

    Args:
        space: As `tune_model` takes it.
        texts: Hyperparameter to its value as a text.

    Raises:
        ConfigurationError: The texts are of another space.
    """
    if set(texts) != set(space):
        raise ConfigurationError(f"a trial got values for {', '.join(sorted(texts)) or 'nothing'}; the space has {', '.join(sorted(space))}")
    return {name: _decoded(name, space[name], text) for name, text in sorted(texts.items())}


def _label(choice: Any) -> str:
    if isinstance(choice, str) and _PLAIN.fullmatch(choice) and choice not in ("true", "false", "null"):
        return choice
    return quote(json.dumps(choice, separators=(",", ":"), sort_keys=True), safe=_SAFE)


def _decoded(name: str, searched: Mapping[str, Any], text: str) -> Any:
    if searched["type"] == "categorical":
        try:
            return searched["choices"][labels(searched["choices"]).index(text)]
        except ValueError:
            raise ConfigurationError(f"space.{name}: a trial got {text!r}, which is none of its choices") from None
    number = float(text)
    return round(number) if searched["type"] == "int" else number
