"""The reference says what the contracts say, and is noticed when it does not."""

from pathlib import Path

import pytest

from intermodal.authoring.catalog import component_names, load_component
from intermodal.authoring.reference import main, reference_pages, stale_pages, write_reference
from intermodal.runtime.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]


def test_every_component_has_a_page_with_every_input_and_output():
    pages = reference_pages()
    for name in component_names():
        specification = load_component(name).component_spec
        for key in [*(specification.inputs or {}), *(specification.outputs or {})]:
            assert f"| `{key}` |" in pages[f"{name}.md"]
        assert f"[{name}]({name}.md)" in pages["README.md"]


def test_the_committed_reference_is_fresh():
    assert stale_pages(ROOT / "docs" / "reference") == []


def test_a_changed_missing_or_orphaned_page_is_stale_until_written_again(tmp_path):
    write_reference(tmp_path)
    assert stale_pages(tmp_path) == []
    (tmp_path / "train_model.md").write_text("by hand")
    (tmp_path / "README.md").unlink()
    (tmp_path / "gone_component.md").touch()
    assert {path.name for path in stale_pages(tmp_path)} == {"train_model.md", "README.md", "gone_component.md"}
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
