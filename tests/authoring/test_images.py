import pytest

from intermodal.authoring.images import IMAGES, image_of, image_reference


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("repository", ["", "registry.example/team", "registry.example:5000/team/"])
def test_a_reference_names_its_image_again(image, repository):
    reference = image_reference(image, repository=repository)
    assert image_of(reference) == image
    assert image_of(reference.rpartition(":")[0] + "@sha256:" + "0" * 64) == image


@pytest.mark.parametrize("reference", ["python:3.11", "", "intermodal-unknown:1", "registry.example/other-train:1"])
def test_other_peoples_images_are_not_ours(reference):
    assert image_of(reference) is None


def test_an_unknown_image_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match="no image 'gpu'; the images are data, validate"):
        image_reference("gpu")
