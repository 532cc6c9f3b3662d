"""The files of a new component, which keeps every promise of the contract tests as it is made."""

import re
from pathlib import Path
from string import Template
from typing import Final

from intermodal.authoring.images import IMAGES
from intermodal.runtime.artifacts import whole_file
from intermodal.runtime.errors import ConfigurationError

_CONTRACT: Final = Template('''"""Contract of `$name`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="$image")
def $name(rows: dsl.Input[dsl.Dataset], limit: int, result: dsl.Output[dsl.Artifact]):
    """Say in one sentence what the component does.

    Args:
        rows: A file of text; say here what the input really is.
        limit: How many lines to keep.
        result: A file: the lines that were kept; say here what the output really is.
    """
    from intermodal.components.$name.logic import $name

    $name(rows_path=rows.path, limit=limit, result_path=result.path)
''')

_LOGIC: Final = Template('''"""Say in one sentence what `$name` does, and how."""

import os
from itertools import islice
from pathlib import Path

from intermodal.runtime.artifacts import whole_file
from intermodal.runtime.errors import ConfigurationError


def $name(*, rows_path: str | os.PathLike[str], limit: int, result_path: str | os.PathLike[str]) -> None:
    """Keep the first lines of a file. See the component's contract for the arguments.

    Raises:
        ConfigurationError: `limit` is below 1.
    """
    if limit < 1:
        raise ConfigurationError(f"limit is {limit}; ask for one line at least")
    with Path(rows_path).open(encoding="utf-8") as rows, whole_file(result_path) as scratch:
        scratch.write_text("".join(islice(rows, int(limit))), encoding="utf-8")
''')

_TEST: Final = Template('''"""What `$name` promises."""

import pytest

from intermodal.components.$name.logic import $name
from intermodal.runtime.errors import ConfigurationError


def test_keeps_the_first_lines(tmp_path):
    (tmp_path / "rows").write_text("a\\nb\\nc\\n")
    $name(rows_path=tmp_path / "rows", limit=2, result_path=tmp_path / "result")
    assert (tmp_path / "result").read_text() == "a\\nb\\n"


def test_refuses_a_limit_below_one_and_writes_nothing(tmp_path):
    (tmp_path / "rows").write_text("a\\n")
    with pytest.raises(ConfigurationError, match="limit is 0"):
        $name(rows_path=tmp_path / "rows", limit=0, result_path=tmp_path / "result")
    assert not (tmp_path / "result").exists()
''')

_PAGE: Final = Template("""# $name

Say in a sentence or two what it does. It runs in the image `$image`.

```python
from intermodal.components.$name.component import $name

kept = $name(rows=earlier.output, limit=10)
```

**Refuses** a limit below 1.

**Limits.** Say what it does not do, and what has not been run.
""")


def scaffold_component(name: str, image: str, root: Path) -> list[Path]:
    """Write the files of a new component below a checkout.

    Args:
        name: A verb and a noun, lowercase, joined by underscores: ``score_batch``.
        image: A key of `intermodal.authoring.images.IMAGES`.
        root: The checkout: the folder with `components/` and `tests/`.

    Returns:
        The files written.

    Raises:
        ConfigurationError: The name or the image will not do, `root` is no checkout, or the component is there already; nothing is written.
    """
    if not re.fullmatch(r"[a-z]+(_[a-z]+)+", name):
        raise ConfigurationError(f"{name!r} is no name for a component; take a verb and a noun in lowercase letters, such as score_batch")
    if image not in IMAGES:
        raise ConfigurationError(f"there is no image {image!r}; the images are {', '.join(IMAGES)}")
    if not (root / "components").is_dir() or not (root / "tests" / "components").is_dir():
        raise ConfigurationError(f"{root.resolve()} has no components/ and tests/components/; run this in a checkout, or name one with --root")
    component, tests = root / "components" / name, root / "tests" / "components" / name
    if there := next((folder for folder in (component, tests) if folder.exists()), None):
        raise ConfigurationError(f"{there} is there already; choose another name, or remove the folder")
    files = {
        component / "__init__.py": Template('"""The `$name` component."""\n'),
        component / "component.py": _CONTRACT,
        component / "logic.py": _LOGIC,
        component / "README.md": _PAGE,
        tests / f"test_{name}.py": _TEST,
    }
    for path, template in files.items():
        with whole_file(path) as scratch:
            scratch.write_text(template.substitute(name=name, image=image), encoding="utf-8")
    return list(files)
