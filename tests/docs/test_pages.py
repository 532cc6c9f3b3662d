"""What the pages say is so: commands are there, messages are those of the source, links between pages lead somewhere."""

import re
from pathlib import Path

import pytest
import typer

from intermodal.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
WRITTEN = sorted(path for path in DOCS.rglob("*.md") if "reference" not in path.parts)


def _messages():
    rows = re.findall(r"^\| (`.+?`(?: or `.+?`)*) \|", (DOCS / "troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE)
    return [message for row in rows for message in re.findall(r"`(.+?)`", row)]


@pytest.fixture(scope="module")
def source():
    """The text of the source, with literals that go on in the next line joined."""
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "components").rglob("*.py"), *(ROOT / "pipelines").rglob("*.py")]
    return "\n".join(re.sub(r'"\s*\n\s*f?"', "", path.read_text(encoding="utf-8")) for path in files)


@pytest.mark.parametrize("message", _messages())
def test_a_message_of_the_troubleshooting_page_is_one_that_the_source_has(message, source):
    for part in message.split("…"):
        assert part.strip() in source, part


@pytest.mark.parametrize("page", WRITTEN, ids=lambda path: path.relative_to(DOCS).as_posix())
def test_every_command_of_a_page_is_one_of_the_command_line_with_its_options(page):
    known = typer.main.get_command(app)
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in re.findall(r"^\$ (?:\.venv/bin/)?intermodal (.+)$", text, re.MULTILINE):
        words = re.sub(r"\s#.*", "", line).split()
        command = known
        while hasattr(command, "commands") and words and words[0] in command.commands:
            command = command.commands[words.pop(0)]
        if not words or words[0] != "--help":
            assert command is not known, f"{page.name}: no such command: {line}"
        options = {option for each in command.params for option in (*each.opts, *each.secondary_opts)} | {"--help"}
        for option in (word.partition("=")[0] for word in words if word.startswith("--")):
            assert option in options, f"{page.name}: {option} is no option of: {line}"


@pytest.mark.parametrize("page", WRITTEN, ids=lambda path: path.relative_to(DOCS).as_posix())
def test_every_link_of_a_page_leads_to_a_file(page):
    for link in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        assert "://" in link or (page.parent / link).exists(), link
