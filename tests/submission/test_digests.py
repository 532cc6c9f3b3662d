"""A digest file names every image, or is refused."""

import json

import pytest

from intermodal.authoring.images import IMAGES
from intermodal.runtime.errors import ConfigurationError
from intermodal.submission.digests import read_digests

WHOLE = {image: "sha256:" + f"{number:064x}" for number, image in enumerate(IMAGES)}


def test_a_whole_file_is_read(tmp_path):
    (tmp_path / "digests.json").write_text(json.dumps(WHOLE))
    assert read_digests(tmp_path / "digests.json") == WHOLE


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (None, "no such file"),
        ("{", "not JSON"),
        ("[]", "list"),
        (json.dumps(WHOLE | {"trian": WHOLE["train"]}), "'trian'"),
        (json.dumps({name: digest for name, digest in WHOLE.items() if name != "train"}), "'train'"),
        (json.dumps(WHOLE | {"train": "sha256:abc"}), "train"),
        (json.dumps(WHOLE | {"train": None}), "train"),
    ],
)
def test_anything_less_is_refused_with_its_path(tmp_path, text, word):
    path = tmp_path / "digests.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"digests\.json") as caught:
        read_digests(path)
    assert word in str(caught.value)
