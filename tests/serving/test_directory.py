"""A model's copy, which a server is started from."""

import zipfile

import pytest

from intermodal.serving.directory import copy_model


@pytest.mark.parametrize("given", ["artifact", "trained.keras"])
def test_a_keras_file_is_copied_under_a_name_that_tells_its_format(tmp_path, given):
    with zipfile.ZipFile(tmp_path / given, "w") as file:
        file.writestr("config.json", "{}")
    copy = copy_model(tmp_path / given, tmp_path / "copy")
    assert [each.read_bytes() for each in copy.glob("model.keras")] == [(tmp_path / given).read_bytes()]


def test_a_copy_that_is_there_is_left_as_it_is(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"one")
    copy = copy_model(tmp_path / "model", tmp_path / "copy")
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"two")
    assert copy_model(tmp_path / "model", tmp_path / "copy") == copy
    assert (copy / "saved_model.pb").read_bytes() == b"one"
