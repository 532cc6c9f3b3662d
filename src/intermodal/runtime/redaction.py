"""Passwords and tokens in texts: found, and hidden in whatever is shown or kept.

One function, `redacted`, for every message, log and artifact. Errors redact themselves (`intermodal.runtime.errors`); a process that shows or logs
something calls `guard` once, and its two output streams do. Standard library only: every task has it.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, quote_plus, unquote

HIDDEN: Final = "***"
#: `${NAME}` stands for a variable of the task's environment: no secret, but the name of one.
PLACEHOLDER: Final = re.compile(r"\$\{(\w+)\}")

_NAMES = r"pass(?:word|wd|phrase|code)?|pwd|requirepass|secret|(?:api|access|private|account|secret|shared|signing)[_-]?key|credentials?"
_TOKENS = r"(?:access|auth|bearer|refresh|session|api|id|security|identity)[_-]?token"
#: Last words of a key under which a secret stands; not `pad_token` and the like, which are hyperparameters.
_KEY: Final = re.compile(rf"(?:^|.*[_\-.]|ssl|pg|redis)(?:{_NAMES})$|(?:^|.*[_\-.])(?:{_TOKENS})$|^token$", re.IGNORECASE)
_VARIABLE: Final = re.compile(r"(?:^|.*_|PG)(?:PASS(?:WORD|WD|PHRASE)?|SECRET|TOKEN|(?:API|ACCESS|SECRET|PRIVATE)_?KEY)$", re.IGNORECASE)

# What follows `scheme://user:`; digits before a path or the end are a port.
_USERINFO: Final = re.compile(
    r"""(?P<head>(?<![a-z0-9+.-])[a-z][a-z0-9+.-]*://[^\s:@/?#'"<>]*:)(?!\d+(?:[/?#\s'",;)\]}]|$))(?P<secret>[^\s'"]{1,400}|[^\s@]{1,400})@""",
    re.IGNORECASE,
)
_NAMED = r"\$\{\w+\}(?![\w$])"
_WORD = rf"[\w.-]*?(?:{_NAMES}|token|signature)"
# `password=…` in a query, a connection string or an option.
_PAIR: Final = re.compile(
    rf"""(?P<head>(?<![\w./-])(?:{_WORD}|(?<=[?&])sig)['"]?\s*=\s*)(?P<secret>{_NAMED}|'[^'\n]*'|"[^"\n]*"|[^\s,;&'")}}\]]+)""", re.IGNORECASE
)
# `"password": "…"` in JSON, in what Python prints of a dictionary, and at the start of a line or flow of YAML.
_ENTRY: Final = re.compile(
    rf"""(?P<head>(?:['"]{_WORD}\\?['"]|(?:^|[{{,])[ \t-]*+{_WORD})\s*:\s*)(?P<secret>{_NAMED}|\\?'[^'\n]*'|\\?"[^"\n]*"|[^\s,'"{{}}\[\]]+)""",
    re.IGNORECASE | re.MULTILINE,
)
_HEADER: Final = re.compile(
    r"""(?P<head>authorization['"]?\s*[:=]\s*['"]?(?:(?:bearer|basic)\s+)?|\bbearer\s+(?=\S{20}))(?P<secret>[^\s'",]+)""", re.IGNORECASE
)
_SHAPE: Final = re.compile(
    r"(?P<head>)(?P<secret>-----BEGIN [A-Z ]*PRIVATE KEY-----(?:[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----)?|\bya29\.[\w-]{20,}|\bAIza[\w-]{30,}"
    r"|\bgh[pousr]_\w{30,}|\bgithub_pat_\w{30,}|\bglpat-[\w-]{20,}|\bhf_\w{30,}|\bxox[abprs]-[\w-]{10,}|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*)"
)
_PATTERNS: Final = (_USERINFO, _PAIR, _ENTRY, _HEADER, _SHAPE)
_HARMLESS: Final = re.compile(r"""\\?['"]?(?:(?:\$\{\w+\})*|\*\*\*|none|null|true|false|~)\\?['"]?""", re.IGNORECASE)

#: Where a key lies, which is no secret.
_PATH: Final = re.compile(r"(?:/|~/|\./|\.\./)[\w./ -]+")

#: Values given to `remember`, and what is shown in their place.
_remembered: dict[str, str] = {}
#: A secret of the environment that is shorter may be any word; what `remember` was given is looked for as a whole word then.
_LONG: Final = 8


def redacted(text: str) -> str:
    """Return a text without the passwords and tokens in it.

    Hidden are: what stands where a password does (in a URI, a query, a connection string, an option, under a key that is named so), what has the
    shape of a token or a private key, what variables of the environment hold whose names end in PASSWORD, SECRET, TOKEN or KEY, and what
    `remember` was given; the last two also percent-encoded.
    """
    if not text:
        return text
    for form, shown in _known():
        if len(form) >= _LONG:
            text = text.replace(form, shown)
        elif form in text:
            text = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", shown.replace("\\", r"\\"), text)
    for pattern in _PATTERNS:
        text = pattern.sub(_hidden, text)
    return text


def redacted_settings(value: Any, key: str = "") -> Any:
    """Return settings as `redacted` shows texts; under a key that is named like a password, nothing is."""
    if isinstance(value, dict):
        return {name: redacted_settings(each, str(name)) for name, each in value.items()}
    if isinstance(value, list):
        return [redacted_settings(each, key) for each in value]
    if not isinstance(value, str):
        return HIDDEN if _is_numeric_secret(value, key) else value
    return HIDDEN if _KEY.match(key) and not _HARMLESS.fullmatch(value) else redacted(value)


def find_secret(value: Any, *, ignored: frozenset[str] = frozenset(), key: tuple[str, ...] = ()) -> str | None:
    """Return where in some settings a password or token stands, as a dotted key, or None. `${NAME}` is none.

    Args:
        value: Settings: mappings, lists, texts.
        ignored: Keys of mappings whose own keys say nothing, as they are a user's names (columns, variables).
        key: Where `value` stands.
    """
    if isinstance(value, dict):
        entries = [(str(name), each) for name, each in value.items()]
    elif isinstance(value, list):
        entries = [(str(index), each) for index, each in enumerate(value)]
    else:
        name = "" if ignored & set(key[:-1]) else _name(key)
        return ".".join(key) if _is_numeric_secret(value, name) or (isinstance(value, str) and _holds_secret(value, name)) else None
    found = (find_secret(each, ignored=ignored, key=(*key, name)) for name, each in entries)
    return next((place for place in found if place is not None), None)


def remember(value: str, shown: str = HIDDEN) -> None:
    """Hide a value from now on, whatever it looks like.

    Args:
        value: A secret that this process has read.
        shown: What stands in its place.
    """
    if value:
        _remembered[value] = shown


def guard() -> None:
    """Have what this process writes to its standard output and error redacted, tracebacks and other libraries' messages included."""
    for stream in (sys.stdout, sys.stderr):
        write = getattr(stream, "write", None)
        if write is not None and not hasattr(write, "guarded"):

            def guarded(text: str, write: Any = write) -> int:
                write(redacted(text))
                return len(text)

            guarded.guarded = True  # type: ignore[attr-defined]
            # The stream itself, not a wrapper in its place: loggers that were made before hold it.
            with suppress(AttributeError):
                setattr(stream, "write", guarded)  # noqa: B010 - a method, which mypy lets nobody assign


def redact_file(path: Path) -> None:
    """Redact a text file, line by line; one that is not there or holds nothing to hide is not touched."""
    if not path.exists() or not any(shown != line for line, shown in _redacted_lines(path)):
        return
    scratch = path.with_name(f".{path.name}.redacted")
    with scratch.open("wb") as target:
        target.writelines(shown for _, shown in _redacted_lines(path))
    scratch.replace(path)


def _redacted_lines(path: Path) -> Iterator[tuple[bytes, bytes]]:
    with path.open("rb") as source:
        for line in source:
            yield line, redacted(line.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def _hidden(match: re.Match[str]) -> str:
    secret = match["secret"]
    if _HARMLESS.fullmatch(secret):
        return match[0]
    mark = secret[0] if secret[0] in "'\"" and secret[-1] == secret[0] and len(secret) > 1 else ""
    return f"{match['head']}{mark}{HIDDEN}{mark}{match[0][match.end('secret') - match.start() :]}"


def _is_numeric_secret(value: Any, name: str) -> bool:
    """Say whether a value is a password of digits, which YAML reads as a number; one or two digits are a setting (`first_pass: 2`)."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 100 and _KEY.match(name) is not None


def _holds_secret(text: str, name: str) -> bool:
    if _KEY.match(name) and not _HARMLESS.fullmatch(text) and not (name.endswith(("key", "credentials")) and _PATH.fullmatch(text)):
        return True
    # A password in a setting may hold blanks and quotes; in a message they end the URI.
    if (whole := re.match(r"\s*[a-z][a-z0-9+.-]*://[^:@/?#]*:(?!\d+(?:[/?#]|$))(.+)@", text, re.IGNORECASE)) and not _HARMLESS.fullmatch(whole[1]):
        return True
    return any(
        not _HARMLESS.fullmatch(match["secret"]) for pattern in _PATTERNS for form in (text, unquote(text)) for match in pattern.finditer(form)
    )


def _name(key: tuple[str, ...]) -> str:
    """Return the name that an element stands under: of an element of a list, the list's; of `a.b`, the last."""
    return next((part.rsplit(".", 1)[-1] for part in reversed(key) if not part.isdigit()), "")


def _known() -> Iterator[tuple[str, str]]:
    """Yield the forms in which known secrets may appear, the longest first, and what is shown for each."""
    known = {value: f"${{{name}}}" for name, value in os.environ.items() if len(value) >= _LONG and _is_secret_variable(name)} | _remembered
    forms = {form: shown for value, shown in known.items() for form in _forms(value)}
    yield from sorted(forms.items(), key=lambda each: -len(each[0]))


@cache
def _is_secret_variable(name: str) -> bool:
    return _VARIABLE.fullmatch(name) is not None


@cache
def _forms(value: str) -> frozenset[str]:
    plain = {value, value.strip(), unquote(value), *(line for line in value.splitlines() if len(line) >= _LONG)}
    return frozenset({quoted for each in plain for quoted in (each, quote(each, safe=""), quote_plus(each), repr(each)[1:-1])} - {""})
