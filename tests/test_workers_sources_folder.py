"""Folders of images: classes by name, exact pixels, and nothing from outside the folder."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.errors import DataError
from models.spec import DataSpec
from workers.data import load_data
from workers.sources.folder import read_folder

RANDOM = np.random.default_rng(0)


def image(*shape):
    return RANDOM.integers(0, 256, shape or (4, 5, 3), dtype=np.uint8)


def fill(root, images):
    for name, pixels in images.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / name)


@pytest.fixture
def pets(tmp_path):
    fill(tmp_path, {f"{name}/{i}.png": image() for name in ("dog", "cat") for i in range(4)})
    return tmp_path


def test_classes_and_images_come_by_name_with_exact_pixels(tmp_path):
    names = ("b/2.png", "b/10.PNG", "a b/x.bmp", "Z/y.png")
    images = {name: image() for name in names}
    fill(tmp_path, images)
    (tmp_path / "README.md").write_text("about the data")
    (tmp_path / "b" / ".hidden").touch()
    (tmp_path / ".cache").mkdir()
    source = read_folder(tmp_path)
    assert source.classes == ("Z", "a b", "b")
    expected = ("Z/y.png", "a b/x.bmp", "b/10.PNG", "b/2.png")
    part = source.parts["train"]
    assert part.labels.tolist() == [0, 1, 2, 2]
    for found, name in zip(part.images, expected, strict=True):
        assert (found == images[name].transpose(2, 0, 1)).all()


@pytest.mark.parametrize("validation", ["val", "valid", "validation"])
def test_parts_are_folders_of_classes(tmp_path, validation):
    images = {
        f"{part}/{name}/{i}.png": image(6, 6)
        for part, count in (("train", 3), (validation, 2), ("test", 1))
        for name in ("cat", "dog")
        for i in range(count)
    }
    fill(tmp_path, images)
    source = read_folder(tmp_path)
    assert {name: len(part.labels) for name, part in source.parts.items()} == {
        "train": 6,
        "validation": 4,
        "test": 2,
    }
    assert source.classes == ("cat", "dog")
    assert (source.parts["test"].images[1, 0] == images["test/dog/0.png"]).all()


@pytest.mark.parametrize("shape", [(3, 3), (3, 3, 3)])
@pytest.mark.parametrize("classes", [2, 100])
def test_few_and_many_classes_in_grey_and_colour(tmp_path, classes, shape):
    fill(tmp_path, {f"{c:03}/{i}.png": image(*shape) for c in range(classes) for i in range(4)})
    data = load_data(DataSpec(source="folder", path="."), seed=0, folder=tmp_path)
    assert len(data.classes) == classes
    assert data.input_shape == (1 if len(shape) == 2 else 3, 3, 3)
    assert set(data.test.labels) == set(range(classes))


def test_an_image_of_another_shape_is_named(pets):
    fill(pets, {"dog/2.png": image(5, 4, 3)})
    with pytest.raises(
        DataError,
        match=r"dog/2.png: found an image of 5 × 4 RGB; accepted is 4 × 5 RGB, as in .*cat/0.png",
    ):
        read_folder(pets)


def test_parts_of_another_shape_are_refused(tmp_path):
    fill(
        tmp_path, {"train/a/0.png": image(), "train/b/0.png": image(), "test/a/0.png": image(4, 5)}
    )
    with pytest.raises(DataError, match=r"test/a/0.png: found an image of 4 × 5 grey; accepted is"):
        read_folder(tmp_path)


def test_a_truncated_image_is_named(pets):
    path = pets / "cat" / "1.png"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"cat/1.png: found a truncated image"):
        read_folder(pets)


@pytest.mark.parametrize("name", ["cat/labels.txt", "cat/x.gif", "cat/deeper/0.png"])
def test_what_is_no_image_in_a_class_is_refused(pets, name):
    (pets / name).parent.mkdir(exist_ok=True)
    (pets / name).touch()
    with pytest.raises(DataError, match=r"found in a folder of a class; accepted are files that"):
        read_folder(pets)


def test_an_image_without_a_class_is_refused(pets):
    fill(pets, {"0.png": image()})
    with pytest.raises(DataError, match=r"0.png: found an image outside the folder of its class"):
        read_folder(pets)


@pytest.mark.parametrize("extra", ["train", "test", "val"])
def test_classes_beside_parts_are_refused(pets, extra):
    (pets / extra).mkdir()
    with pytest.raises(
        DataError, match=rf"found the folders .*{extra}; accepted are either classes"
    ):
        read_folder(pets)


def test_two_validation_parts_are_refused(tmp_path):
    fill(tmp_path, {f"{part}/a/0.png": image() for part in ("train", "val", "validation")})
    with pytest.raises(DataError, match="found the folders train, val, validation; accepted are"):
        read_folder(tmp_path)


def test_a_class_that_is_not_in_train_is_refused(tmp_path):
    fill(tmp_path, {"train/a/0.png": image(), "train/b/0.png": image(), "test/c/0.png": image()})
    with pytest.raises(DataError, match=r"test/c: found a class that has no training example"):
        read_folder(tmp_path)


def test_a_class_without_an_image_is_refused(pets):
    (pets / "eel").mkdir()
    with pytest.raises(DataError, match=r"found no training example of class 2 \(eel\)"):
        load_data(DataSpec(source="folder", path="."), seed=0, folder=pets)


def test_an_empty_part_is_refused(tmp_path):
    fill(tmp_path, {"train/a/0.png": image(), "train/b/0.png": image()})
    (tmp_path / "test" / "a").mkdir(parents=True)
    with pytest.raises(DataError, match=r"test: found no image; accepted is a part that is not em"):
        read_folder(tmp_path)


def test_an_empty_folder_and_a_file_are_refused(tmp_path):
    with pytest.raises(DataError, match="found no folder of a class"):
        read_folder(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file: found a file; accepted is a folder"):
        read_folder(tmp_path / "file")


@pytest.mark.parametrize("link", ["cat/link.png", "eel"])
def test_links_out_of_the_folder_are_refused(pets, tmp_path_factory, link):
    outside = tmp_path_factory.mktemp("outside")
    fill(outside, {"0.png": image()})
    (pets / link).symlink_to(outside / "0.png" if link.endswith("png") else outside)
    with pytest.raises(DataError, match=rf"{link}: found a link to a place outside"):
        read_folder(pets)


def test_a_part_that_links_out_of_the_folder_is_refused(pets, tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    (root / "train").symlink_to(pets)
    with pytest.raises(DataError, match="train: found a link to a place outside"):
        read_folder(root)


def test_links_inside_the_folder_are_followed(pets):
    (pets / "cat" / "link.png").symlink_to("0.png")
    part = read_folder(pets).parts["train"]
    assert len(part.labels) == 9
    assert (part.images[0] == part.images[4]).all()


def test_a_link_to_itself_is_refused(pets):
    (pets / "cat" / "loop.png").symlink_to("loop.png")
    with pytest.raises(DataError, match=r"loop.png: found in a folder of a class"):
        read_folder(pets)


def test_a_pipe_is_refused(pets):
    os.mkfifo(pets / "cat" / "pipe.png")
    with pytest.raises(DataError, match=r"pipe.png: found in a folder of a class"):
        read_folder(pets)
    os.mkfifo(pets / "pipe")
    with pytest.raises(DataError, match="pipe: found neither a file nor a folder"):
        read_folder(pets / "pipe")


def test_a_file_that_is_too_large_is_refused(pets, monkeypatch):
    monkeypatch.setattr("workers.sources.folder.MOST_FILE_BYTES", 50)
    with pytest.raises(DataError, match=r"cat/0.png: found more than 50 bytes"):
        read_folder(pets)


@pytest.mark.parametrize("name", ["e\nel/0.png", "eel/0\n.png"])
def test_a_name_that_cannot_be_printed_is_refused(pets, name):
    fill(pets, {name: image()})
    with pytest.raises(
        DataError, match=r"found the name '.*\\n.*'; accepted are names that can be"
    ):
        read_folder(pets)


@pytest.mark.parametrize("closed", ["cat/0.png", "cat", "."])
def test_no_permission_is_told_with_the_name(pets, monkeypatch, closed):
    (pets / closed).chmod(0)
    try:
        if os.geteuid() == 0:  # root may read anything: let the system's answer be played
            deny(monkeypatch, pets / closed)
        with pytest.raises(DataError, match=rf"{closed}.*: cannot be read: Permission denied"):
            load_data(DataSpec(source="folder", path=str(pets)), seed=0, folder=pets)
    finally:
        (pets / closed).chmod(0o755)


def deny(monkeypatch, closed):
    def refusing(method):
        def call(self, *args, **kwargs):
            if self == closed or closed in self.parents:
                raise PermissionError(13, "Permission denied", str(self))
            return method(self, *args, **kwargs)

        return call

    for name in ("open", "iterdir"):
        monkeypatch.setattr(Path, name, refusing(getattr(Path, name)))
