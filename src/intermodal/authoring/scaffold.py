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
def $name(rows: dsl.Input[dsl.Dataset], result: dsl.Output[dsl.Dataset], limit: int = 10):
    """Say in one sentence what the component does.

    Args:
        rows: A file of text; say here what the input really is.
        result: A file: the lines that were kept; say here what the output really is.
        limit: How many lines to keep.
    """
    from intermodal.components.$name.logic import $name

    kept = $name(rows_path=rows.path, limit=limit, result_path=result.path)
    result.metadata["lines"] = kept
''')

_ARGUMENTS: Final = Template('''"""Checks of `$name`'s arguments."""

from intermodal.runtime.arguments import in_range


def check_arguments(*, limit: int) -> None:
    """Raise ArgumentError for a value that the component does not take."""
    in_range("limit", limit, 1)
''')

_LOGIC: Final = Template('''"""Say in one sentence what `$name` does, and how."""

import os
from itertools import islice
from pathlib import Path

from intermodal.components.$name.arguments import check_arguments
from intermodal.runtime.artifacts import whole_file


def $name(*, rows_path: str | os.PathLike[str], limit: int, result_path: str | os.PathLike[str]) -> int:
    """Keep the first lines of a file. See the component's contract for the arguments.

    Returns:
        How many lines were kept.

    Raises:
        ArgumentError: `limit` is below 1.
    """
    check_arguments(limit=limit)
    with Path(rows_path).open(encoding="utf-8") as rows, whole_file(result_path) as scratch:
        kept = list(islice(rows, int(limit)))
        scratch.write_text("".join(kept), encoding="utf-8")
    return len(kept)
''')

_TEST: Final = Template('''"""What `$name` promises."""

import pytest

from intermodal.components.$name.logic import $name
from intermodal.runtime.arguments import ArgumentError


def test_keeps_the_first_lines(tmp_path):
    (tmp_path / "rows").write_text("a\\nb\\nc\\n")
    assert $name(rows_path=tmp_path / "rows", limit=2, result_path=tmp_path / "result") == 2
    assert (tmp_path / "result").read_text() == "a\\nb\\n"


def test_refuses_a_limit_below_one_and_writes_nothing(tmp_path):
    (tmp_path / "rows").write_text("a\\n")
    with pytest.raises(ArgumentError, match="limit: 0 must be at least 1"):
        $name(rows_path=tmp_path / "rows", limit=0, result_path=tmp_path / "result")
    assert not (tmp_path / "result").exists()
''')

_PAGE: Final = Template("""# $name

Say in a sentence or two what it does. It runs in the image `$image`.

```python
from pathlib import Path

import sklearn
from kfp import components, dsl

TABLE = Path(sklearn.__file__).parent / "datasets" / "data" / "breast_cancer.csv"
$name = components.load_component_from_file("compiled/components/$name.yaml")


@dsl.pipeline(name="my-pipeline")
def my_pipeline(uri: str = str(TABLE)):
    rows = dsl.importer(artifact_uri=uri, artifact_class=dsl.Dataset)
    $name(rows=rows.output)
```

`make compile` writes the component's file; a test runs this pipeline as it stands here.

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
        component / "arguments.py": _ARGUMENTS,
        component / "logic.py": _LOGIC,
        component / "README.md": _PAGE,
        tests / f"test_{name}.py": _TEST,
    }
    for path, template in files.items():
        with whole_file(path) as scratch:
            scratch.write_text(template.substitute(name=name, image=image), encoding="utf-8")
    return list(files)
