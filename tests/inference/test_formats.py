"""Formats of models: what a model is, from its files alone; every row is one that the components follow."""

import importlib.util
from pathlib import Path

import pytest

from intermodal.inference.formats import FORMATS, formats_of, suffix_of

KERAS = {b"PK\x03\x04": ".keras", b"\x89HDF\r\n\x1a\n": ".h5"}


@pytest.mark.parametrize("beginning", KERAS)
@pytest.mark.parametrize("name", ["model", "late.2", "model.bin"])
def test_a_file_whose_name_tells_nothing_is_known_by_its_first_bytes(tmp_path, name, beginning):
    (tmp_path / name).write_bytes(beginning + b"rest")
    assert suffix_of(tmp_path / name) == KERAS[beginning]
    assert [each.framework for each in formats_of(tmp_path / name)] == ["keras"]


def test_a_file_is_what_its_suffix_says_whatever_it_begins_with(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"PK\x03\x04")  # PyTorch's files are zip archives, too
    assert [each.framework for each in formats_of(tmp_path / "model.pt")] == ["pytorch"]


@pytest.mark.parametrize("name", ["saved_model.pb", "1/saved_model.pb"])
def test_a_saved_model_is_known_also_in_its_version_folder(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    assert [each.framework for each in formats_of(tmp_path)] == ["tensorflow"]


def test_what_is_no_model_has_no_format(tmp_path):
    (tmp_path / "notes.txt").touch()
    assert formats_of(tmp_path) == formats_of(tmp_path / "notes.txt") == formats_of(tmp_path / "absent") == []


def test_every_loader_is_a_module_of_this_room():
    for each in FORMATS:
        if each.loader:
            module, _, function = each.loader.partition(":")
            found = importlib.util.find_spec(module)
            assert found is not None
            assert f"def {function}(" in Path(found.origin).read_text()
            assert module.startswith("intermodal.inference.")
