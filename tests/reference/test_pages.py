"""The reference says what the contracts say, and is noticed when it does not."""

from pathlib import Path

import pytest

from intermodal.authoring.catalog import component_names, load_component
from intermodal.reference.pages import main, reference_pages, stale_pages, write_reference
from intermodal.runtime.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]


def test_every_component_has_a_page_with_every_input_and_output():
    pages = reference_pages()
    for name in component_names():
        specification = load_component(name).component_spec
        for key in [*(specification.inputs or {}), *(specification.outputs or {})]:
            assert f"| `{key}` |" in pages[f"components/{name}.md"]
        assert f"[{name}]({name}.md)" in pages["components/index.md"]


def test_the_committed_reference_is_fresh():
    assert stale_pages(ROOT / "docs" / "reference") == []


def test_a_changed_missing_or_orphaned_page_is_stale_until_written_again(tmp_path):
    write_reference(tmp_path)
    assert stale_pages(tmp_path) == []
    (tmp_path / "components" / "train_model.md").write_text("by hand")
    (tmp_path / "commands.md").unlink()
    (tmp_path / "components" / "gone_component.md").touch()
    assert {path.name for path in stale_pages(tmp_path)} == {"train_model.md", "commands.md", "gone_component.md"}
    write_reference(tmp_path)
    assert stale_pages(tmp_path) == []


def test_check_fails_on_a_stale_reference_and_names_the_remedy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="make reference"):
        main(["--check"])
    main([])
    main(["--check"])
    with pytest.raises(ConfigurationError, match="--chekc"):
        main(["--chekc"])


def test_every_key_of_a_configuration_and_of_the_targets_file_has_a_row_with_its_default():
    pages = reference_pages()
    for key in ("data.sources[].uri", "gate.confidence", "serving.local.port", "registry"):
        assert f"| `{key}` |" in pages["configuration.md"], key
    assert "| `gate.confidence` | number | `0.95` |" in pages["configuration.md"]
    assert "| `profiles.NAME.kubeflow.namespace` |" in pages["targets.md"]
    assert "| `shapes.NAME.cpu` |" in pages["targets.md"]


def test_every_command_has_a_section_with_its_options():
    page = reference_pages()["commands.md"]
    for command in ("run", "submit", "schedule create", "serve stop", "lint"):
        assert f"\n## intermodal {command}\n" in page, command
    assert "| `--target` |" in page
