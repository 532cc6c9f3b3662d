"""Pages of the components, written from their contracts."""

import os
import re
from typing import Any

from intermodal.authoring.catalog import component_names, component_page, default_text, load_component, type_name
from intermodal.authoring.decorator import CACHED_WITH, UNCACHED
from intermodal.authoring.images import IMAGES, image_of
from intermodal.reference.markdown import notice, table

FOLDER = "components"


def component_pages() -> dict[str, str]:
    """Return the pages, file name to text: one a component, and the index."""
    names = component_names()
    index = [
        "# Components",
        table(
            ("Component", "Image", "What it does"),
            ((f"[{name}]({name}.md)", f"`{_image(name)}`", load_component(name).description.strip().split("\n\n")[0]) for name in names),
        ),
        "## Images",
        "\n".join(f"- `{image}`: {text}" for image, text in IMAGES.items()),
    ]
    pages = {"index.md": notice("the components' contracts") + "\n\n".join(index) + "\n"}
    return {f"{FOLDER}/{name}": text for name, text in (pages | {f"{name}.md": _page(name) for name in names}).items()}


def _page(name: str) -> str:
    component = load_component(name)
    specification = component.component_spec
    policy = "reused when its inputs are equal"
    if component.name in UNCACHED:
        policy = "never reused from an earlier run: it reads or changes a store that outlives the run"
    elif component.name in CACHED_WITH:
        policy += f" and `{CACHED_WITH[component.name]}` is given"
    parts = [f"# {name}", component.description.strip(), f"Runs in the image `{_image(name)}`. Its result is {policy}."]
    if specification.inputs:
        rows = ((f"`{key}`", type_name(str(value.type)), _default(value), value.description or "") for key, value in specification.inputs.items())
        parts.append("## Inputs\n\n" + table(("Name", "Type", "Default", ""), rows))
    if specification.outputs:
        made = ((f"`{key}`", type_name(str(value.type)), value.description or "") for key, value in specification.outputs.items())
        parts.append("## Outputs\n\n" + table(("Name", "Type", ""), made))
    parts.append(_own_page(name))
    return notice(f"components/{name}: its contract and its README.md") + "\n\n".join(parts) + "\n"


def _own_page(name: str) -> str:
    """Return the component's own page without its title, its links as they are from here."""
    text = component_page(name).read_text(encoding="utf-8").strip()
    here, there = f"docs/reference/{FOLDER}", f"components/{name}"

    def moved(match: re.Match[str]) -> str:
        target, fragment = match[1].partition("#")[0], "".join(match[1].partition("#")[1:])
        if not target or "://" in target:
            return match[0]
        place = os.path.normpath(f"{there}/{target}")
        page = re.fullmatch(r"components/(\w+)(/README\.md)?", place)
        return f"]({f'{page[1]}.md' if page else os.path.relpath(place, here)}{fragment})"

    return "## Use\n\n" + re.sub(r"\]\(([^)\s]+)\)", moved, re.sub(r"\A# .*\n+", "", text)).replace("\n# ", "\n## ")


def _image(name: str) -> str:
    return str(image_of(load_component(name).component_spec.implementation.container.image))


def _default(value: Any) -> str:
    """Return an input's default in Markdown."""
    text = default_text(value)
    return f"*{text}*" if text in ("required", "none") else f"`{text}`"
