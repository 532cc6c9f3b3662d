import re

from hypothesis import given
from hypothesis import strategies as st

from intermodal.inference.tensor_names import tensor_names


def test_a_name_that_tensorflow_takes_stays_and_another_becomes_like_it():
    names = tensor_names(["size", "mean radius", "mean_radius", "mean-radius", "1st", "größe", "_"])
    assert names == {
        "size": "size",
        "mean radius": "mean_radius_2",
        "mean_radius": "mean_radius",
        "mean-radius": "mean_radius_3",
        "1st": "column_1st",
        "größe": "gr__e",
        "_": "column__",
    }


@given(st.lists(st.text(), unique=True))
def test_every_column_has_a_name_of_its_own_that_tensorflow_takes(columns):
    names = tensor_names(columns)
    assert list(names) == columns
    assert len(set(names.values())) == len(columns)
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) for name in names.values())
