"""A model has one hash: of the artifact that is judged, and of the folder that a registry stores and gives back."""

import shutil

import pytest

from intermodal.inference.stored_files import model_files, model_hash
from intermodal.runtime.errors import DataError
from intermodal.runtime.tree import tree_hash


@pytest.mark.parametrize("name", ["model", "model.keras", "classifier.joblib"])
def test_a_file_has_the_hash_of_the_folder_that_is_stored(tmp_path, name):
    model = tmp_path / name
    model.write_bytes(b"PK\x03\x04 and some content")
    (tmp_path / "stored").mkdir()
    for stored, path in model_files(model).items():
        shutil.copyfile(path, tmp_path / "stored" / stored)
    assert model_hash(model) == tree_hash(tmp_path / "stored") == model_hash(tmp_path / "stored")


def test_where_nothing_is_there_is_no_hash(tmp_path):
    with pytest.raises(DataError, match="no model there"):
        model_hash(tmp_path / "model")
