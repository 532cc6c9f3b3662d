"""Write docs/reference/faults.md from the tests' `fault` markers, or check that it is current.

.venv/bin/python tests/fault_matrix.py [--check]
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from intermodal.runtime.artifacts import whole_file

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/reference/faults.md"
HEAD = """# Fault matrix

What the tests break on purpose, and what must still work. Each row is a test; this page is generated from the tests' `fault` markers by
`make reference`. Rows marked *random* draw their faults (the time of a kill, bytes, orders) from a seed: `make test` always draws the same,
`make faults` draws afresh and prints the seed, `make faults SEED=1234 ROUNDS=5` repeats one seed and the four after it.
"""


def rows() -> Iterator[tuple[str, str, str, str, bool]]:
    """Yield each marked test: area, what is tried, what is promised, where, and whether it draws at random."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef):
                continue
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.fault":
                    area, tried, promise = (ast.literal_eval(each) for each in mark.args)
                    drawn = any(each.arg == "fault_random" for each in node.args.args)
                    yield area, tried, promise, f"{path.relative_to(ROOT).as_posix()}::{node.name}", drawn


def page() -> str:
    """Return the page's text."""
    areas = defaultdict(list)
    for area, tried, promise, place, drawn in rows():
        areas[area].append((tried, promise, place, drawn))
    parts = [HEAD]
    for area, found in sorted(areas.items()):
        parts += [f"\n## {area}\n\n| Tried | Promised | Test |\n|---|---|---|\n"]
        parts += [
            f"| {tried}{' (*random*)' if drawn else ''} | {promise} | [{place.rpartition('::')[2]}](../../{place.partition('::')[0]}) |\n"
            for tried, promise, place, drawn in sorted(found)
        ]
    return "".join(parts)


def main() -> int:
    """Write the page, or with `--check` return 1 where it is not current."""
    if sys.argv[1:] == ["--check"]:
        if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page():
            return 0
        print(f"{PAGE.relative_to(ROOT)} is stale: make reference")
        return 1
    with whole_file(PAGE) as scratch:
        scratch.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
