"""The reference in docs/reference/, written from the components' contracts.

python -m intermodal.authoring.reference [--check]
"""

import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from intermodal.authoring.catalog import component_names, load_component
from intermodal.authoring.decorator import CACHED_WITH, UNCACHED
from intermodal.authoring.images import IMAGES, image_of
from intermodal.linting import RULES
from intermodal.runtime.artifacts import whole_file
from intermodal.runtime.errors import ConfigurationError

FOLDER = Path("docs/reference")
_NOTICE = "<!-- Written by `python -m intermodal.authoring.reference` from the component's contract; change that instead. -->\n\n"


def reference_pages() -> dict[str, str]:
    """Return every page of the reference, file name to text: one a component, and the index."""
    pages = {f"{name}.md": _component_page(name) for name in component_names()}
    rows = [f"| [{name}]({name}.md) | `{_image(name)}` | {_summary(load_component(name).description)} |" for name in component_names()]
    images = [f"- `{image}`: {text}" for image, text in IMAGES.items()]
    index = ["# Components", "", "| Component | Image | What it does |", "|---|---|---|", *rows, "", "## Images", "", *images]
    return {"README.md": _NOTICE + "\n".join(index) + "\n", "lint-rules.md": _lint_page(), **pages}


def _lint_page() -> str:
    text = (
        "# Lint rules\n\nWhat `intermodal lint` and `intermodal submit` check in a compiled file. Basis: *enforced*: a client or a service was "
        "seen to refuse it; *documented*: a reference or a proto says so; *inferred*: what is known leads there."
    )
    rows = [
        f"| `{each.id}` | {', '.join(each.platforms)} | {each.severity} | {_cell(each.why)} | {each.basis}: {_cell(each.source)} |" for each in RULES
    ]
    notice = _NOTICE.replace("the component's contract", "src/intermodal/linting")
    return notice + "\n".join([text, "", "| Rule | Platform | Severity | Why | Basis |", "|---|---|---|---|---|", *rows]) + "\n"


def _component_page(name: str) -> str:
    component = load_component(name)
    specification = component.component_spec
    policy = "reused when its inputs are equal"
    if component.name in UNCACHED:
        policy = "never reused from an earlier run: it reads or changes a store that outlives the run"
    elif component.name in CACHED_WITH:
        policy += f" and `{CACHED_WITH[component.name]}` is given"
    parts = [f"# {name}", component.description.strip(), f"Runs in the image `{_image(name)}`. Its result is {policy}."]
    for heading, group in (("Inputs", specification.inputs), ("Outputs", specification.outputs)):
        if group:
            rows = [f"| `{key}` | {_type(value)} | {_cell(value.description or '')} |" for key, value in group.items()]
            parts.append("\n".join([f"## {heading}", "", "| Name | Type | |", "|---|---|---|", *rows]))
    parts.append(f"More, with an example: [the component's own page](../../components/{name}/README.md).")
    return _NOTICE + "\n\n".join(parts) + "\n"


def _summary(description: str) -> str:
    return _cell(description.strip().split("\n\n")[0])


def _image(name: str) -> str:
    return str(image_of(load_component(name).component_spec.implementation.container.image))


def _type(value: Any) -> str:
    """Return a type's name without its schema's version, and whether the input may be left out."""
    return str(value.type).partition("@")[0].removeprefix("system.") + (" (optional)" if getattr(value, "optional", False) else "")


def _cell(text: str) -> str:
    """Return a text as one cell of a table."""
    return " ".join(text.replace("|", "\\|").split())


def stale_pages(folder: Path) -> list[Path]:
    """Return the files that are missing, differ from what would be written, or belong to no component any more."""
    pages = reference_pages()
    differ = [folder / name for name, text in pages.items() if not (folder / name).exists() or (folder / name).read_text(encoding="utf-8") != text]
    return differ + [path for path in sorted(folder.glob("*.md")) if path.name not in pages]


def write_reference(folder: Path) -> None:
    """Write every page, and remove those of components that are gone."""
    for name, text in reference_pages().items():
        with whole_file(folder / name) as scratch:
            scratch.write_text(text, encoding="utf-8")
    for path in stale_pages(folder):
        path.unlink()


def main(arguments: list[str]) -> None:
    """Write the reference below the working directory, or with `--check` fail when it is stale.

    Raises:
        ConfigurationError: The reference is stale, or an argument is not known.
    """
    if unknown := [each for each in arguments if each != "--check"]:
        raise ConfigurationError(f"{' '.join(unknown)} is not known; the only option is --check")
    if "--check" not in arguments:
        write_reference(FOLDER)
    elif stale := stale_pages(FOLDER):
        raise ConfigurationError(f"{', '.join(map(str, stale))} stale; run `make reference` and commit what it writes")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ConfigurationError as error:
        Console(stderr=True).print(f"error: {error}", soft_wrap=True, markup=False)
        sys.exit(1)
