"""YAML that anybody may have written: read within limits, and refused in one sentence.

A plain `yaml.safe_load` expands a few lines of aliases to gigabytes, overflows libyaml's stack on deep nesting, and silently takes the last
of two equal keys.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from intermodal.runtime.errors import ConfigurationError

#: A compiled pipeline of a thousand tasks has about 3 MB and 10^5 values; ten lines of aliases can make 10^9.
MOST_BYTES, MOST_VALUES = 16 * 2**20, 500_000
#: The parsers of the platforms' protos go 100 levels deep; a compiled file has about 20.
MOST_LEVELS = 100
#: The largest 64-bit integer has 19; Python takes minutes to read a million in base 60 (`1:1:1...`), and prints no more than 4,300.
MOST_DIGITS = 1_000
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class UnreadableYamlError(ConfigurationError):
    """A text is not YAML, or none that may be read.

    Attributes:
        reason: The sentence without the file's name.
    """

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.reason = reason


@dataclass(frozen=True)
class Document:
    """One document of a file.

    Attributes:
        value: What it says.
        node: The same as YAML's nodes, which know their lines; None for an empty document.
    """

    value: Any
    node: yaml.Node | None


def read_text(path: Path, missing: str) -> str:
    """Return the text of a file.

    Args:
        path: The file.
        missing: What to do when there is none, the end of the sentence.

    Raises:
        UnreadableYamlError: It is missing, is no file, is not UTF-8, or has more than 16 MiB.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise UnreadableYamlError(str(path), f"no such file; {missing}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UnreadableYamlError(repr(str(path)), f"it cannot be read ({reason}); {missing}") from None
    if len(content) > MOST_BYTES:
        raise UnreadableYamlError(str(path), f"it has more than {MOST_BYTES >> 20} MiB; keep data out of it")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableYamlError(str(path), f"not UTF-8 text at byte {error.start}; save it as UTF-8") from None


def parse_value(text: str, where: str) -> Any:
    """Return the value of a text that holds one document; see `parse_documents`."""
    documents = parse_documents(text, where)
    if len(documents) > 1:
        raise UnreadableYamlError(where, f"it has {len(documents)} documents, separated by `---`; one is expected")
    return documents[0].value if documents else None


def parse_documents(text: str, where: str, *, repeated_keys: bool = False) -> list[Document]:
    """Parse a YAML text.

    Args:
        text: The text.
        where: Names it in messages: the file's path, or the option.
        repeated_keys: Whether a mapping may have a key twice; the last one counts.

    Raises:
        UnreadableYamlError: It is not YAML, has a key twice, is nested more than 100 levels deep, or has more than 500,000 values, each alias
            counted where it stands.
    """
    if len(text) > MOST_BYTES:
        raise UnreadableYamlError(where, f"it has more than {MOST_BYTES >> 20} MiB; keep data out of it")
    try:
        _check_size(text, where)
        nodes = list(yaml.compose_all(text, _LOADER))
        known: dict[int, tuple[float, float]] = {}
        values = sum(_measured(node, known, where, repeated_keys=repeated_keys)[0] for node in nodes)
        if math.isinf(values):
            raise UnreadableYamlError(where, "an alias stands inside the value that it names; write the value out")
        if max((known[id(node)][1] for node in nodes), default=0) > MOST_LEVELS:
            raise _too_deep(where)
        if values > MOST_VALUES:
            raise _too_many(where)
        loader = _LOADER("")
        return [Document(loader.construct_document(node), node) for node in nodes]
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        reason = " ".join(str(each) for each in (error.context, error.problem) if each)
        raise UnreadableYamlError(where, f"{line}not YAML: {' '.join(reason.split())[:200]}") from error
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:  # a date such as 2026-02-31, a character that YAML has not
        raise UnreadableYamlError(where, f"not YAML: {' '.join(str(error).split())[:200]}") from error
    except (LookupError, AttributeError) as error:  # how PyYAML fails on `!!int ""` and `!!timestamp "x"`
        raise UnreadableYamlError(where, "not YAML: the text of a value does not fit its tag (!!int, !!bool, ...); take the tag out") from error


def line_of(node: yaml.Node | None, path: Iterable[str | int]) -> int:
    """Return the line of the deepest existing node on a path of keys and indices, from 1."""
    line = 1
    for part in path:
        if isinstance(node, yaml.MappingNode):
            entry = next(((key, value) for key, value in node.value if key.value == str(part)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            entry = (node.value[part], node.value[part])
        else:
            entry = None
        if entry is None:
            break
        line, node = entry[0].start_mark.line + 1, entry[1]
    return line


def _check_size(text: str, where: str) -> None:
    """Refuse what is too much for libyaml's composer: it recurses with each level, and makes 1 KB of a value of two bytes."""
    depth = values = 0
    for event in yaml.parse(text, _LOADER):
        values += isinstance(event, yaml.NodeEvent)
        if values > MOST_VALUES:
            raise _too_many(where)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_LEVELS:
            raise _too_deep(where)


def _too_many(where: str) -> UnreadableYamlError:
    return UnreadableYamlError(where, f"it has more than {MOST_VALUES:,} values, its aliases written out; write less, without aliases")


def _too_deep(where: str) -> UnreadableYamlError:
    return UnreadableYamlError(where, f"it is nested more than {MOST_LEVELS} levels deep; write it flatter")


def _measured(node: yaml.Node, known: dict[int, tuple[float, float]], where: str, *, repeated_keys: bool) -> tuple[float, float]:
    """Return how many values a node is and how deep it goes, each alias counted where it stands; infinite for one that contains itself.

    An anchor stands before its aliases, so what an alias means is known, and recursion goes no deeper than the text is nested.
    """
    if id(node) in known:
        return known[id(node)]
    if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:int" and len(node.value) > MOST_DIGITS:
        line = node.start_mark.line + 1
        raise UnreadableYamlError(where, f"line {line}: a number of {len(node.value):,} digits; write a smaller one, or quote it if it is a text")
    if not isinstance(node, yaml.CollectionNode):
        known[id(node)] = 1, 1
        return 1, 1
    known[id(node)] = math.inf, math.inf
    if isinstance(node, yaml.MappingNode) and not repeated_keys:
        _check_keys(node, where)
    children = [each for pair in node.value for each in pair] if isinstance(node, yaml.MappingNode) else node.value
    measured = [_measured(each, known, where, repeated_keys=repeated_keys) for each in children]
    known[id(node)] = 1 + sum(size for size, _ in measured), 1 + max((depth for _, depth in measured), default=0)
    return known[id(node)]


def _check_keys(node: yaml.MappingNode, where: str) -> None:
    lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            name, line = (key.tag, key.value), key.start_mark.line + 1
            if name in lines:
                raise UnreadableYamlError(where, f"line {line}: the key {key.value[:60]!r} is in line {lines[name]} already; keep one of the two")
            lines[name] = line
