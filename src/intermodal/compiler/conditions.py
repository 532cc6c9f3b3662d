"""Conditions of a pipeline: expressions in CEL, the Common Expression Language, as Kubeflow Pipelines' driver evaluates them.

Google's own implementation evaluates them; it runs no code, and limits length and nesting. Its loops (`map`, `all`, ...) are switched off.
"""

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from intermodal.runtime.errors import ConfigurationError

_VALUE = re.compile(r"""inputs\.parameter_values(?:\[\s*(?:'([^']*)'|"([^"]*)")\s*\]|\.(\w+))""")

_FIELD = re.compile(r"\binputs\.(\w+)")
_NOT_CEL = (RuntimeError, UnicodeError)


def holds(condition: str, value: Callable[[str], Any]) -> bool:
    """Return whether a condition is true.

    Args:
        condition: For instance ``int(inputs.parameter_values['count']) > 1``; empty: it is true.
        value: Returns a parameter by its name; raises `KeyError` where there is none.

    Raises:
        ConfigurationError: It is not CEL, needs a parameter that is not there, or gives no boolean.
    """
    if not condition.strip():
        return True
    given, absent = {}, []
    for match in _VALUE.finditer(condition):
        name = next(each for each in match.groups() if each is not None)
        try:
            given[name] = _json(value(name))
        except KeyError:
            absent.append(name)
        except (OverflowError, ValueError) as error:
            raise _unusable(condition, f"{name}: {error}") from error
    try:
        condition.encode()
        result = _environment().compile(condition).eval(data={"inputs": {"parameter_values": given}})
    except _NOT_CEL as error:
        raise _unusable(condition, str(error)) from error
    kind = result.type().name()
    if kind == "BOOL":
        return bool(result.value())
    if kind != "ERROR":
        raise _unusable(condition, f"it gives {kind}, not true or false")
    if absent:
        raise ConfigurationError(f"the condition {_short(condition)} needs {', '.join(absent)}, which no task that ran gives")
    raise _unusable(condition, str(result.value()))


@cache
def _environment() -> Any:
    """Return what the driver offers to a condition: the parameters, and the function `parseJson`."""
    from cel_expr_python import cel  # 10 ms and 14 MB, needed only by pipelines with conditions

    # Without loops over lists, which kfp never writes: each of a chain of them can double the size of a value.
    config = cel.NewEnvConfigFromYaml("stdlib: {exclude_macros: [all, exists, exists_one, map, filter]}")
    parse = cel.Overload("parse_json", cel.Type.DYN, [cel.Type.STRING], impl=lambda text: _json(json.loads(text)))
    functions = cel.CelExtension("kfp", [cel.FunctionDecl("parseJson", [parse])])
    parameters = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)
    return cel.NewEnv(config=config, variables={"inputs": cel.Type.Map(cel.Type.STRING, parameters)}, extensions=[functions])


def why_unreadable(condition: str) -> str | None:
    """Return why a condition cannot be evaluated with any parameters; None when it can."""
    try:
        condition.encode()
        _environment().compile(condition)
    except _NOT_CEL as error:
        return _reason(str(error))
    unknown = [each for each in _FIELD.findall(condition) if each not in ("parameter_values", "parameters", "artifacts")]
    return f"the inputs have no {unknown[0]!r}, only parameter_values and artifacts" if unknown else None


def _json(value: Any) -> Any:
    """Return a value as the driver sees it: every number is a double.

    Raises:
        ValueError: A text has a NUL character, where the library would cut it off.
    """
    if isinstance(value, dict):
        return {key: _json(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_json(each) for each in value]
    if isinstance(value, str) and "\0" in value:
        raise ValueError("its text has a NUL character")
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _unusable(condition: str, reason: str) -> ConfigurationError:
    what = f"the condition {_short(condition)} cannot be evaluated: {_reason(reason)}"
    return ConfigurationError(f"{what}; write it in CEL, as Kubeflow Pipelines reads it")


def _reason(said: str) -> str:
    return re.sub(r"^[A-Z_]+: (ERROR: <input>:\d+:\d+: )?", "", said).partition("\n")[0].partition(" expecting {")[0][:200]


def _short(condition: str) -> str:
    return repr(condition if len(condition) <= 200 else condition[:197] + "...")
