"""Images for a model that was trained elsewhere: which are taken, and whose classes they are."""

import numpy as np
import pytest
from PIL import Image

from models.errors import DataError
from models.spec import DataSpec
from workers.data import describe, load_data
from workers.evaluation_data import load_test_images

PIXELS = np.arange(6 * 16, dtype=np.uint8).reshape(6, 4, 4)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def npz(folder, **arrays):
    np.savez(folder / "data.npz", **arrays)
    return DataSpec(source="npz", path="data.npz")


def load(folder, spec, *, logits=3, classes=None):
    return load_test_images(spec, folder=folder, logits=logits, classes=classes)


def test_data_of_one_part_is_taken_whole_and_in_order(tmp_path):
    data = load(tmp_path, npz(tmp_path, images=PIXELS, labels=LABELS))
    np.testing.assert_array_equal(data.test.images[:, 0], PIXELS)
    np.testing.assert_array_equal(data.test.labels, LABELS)
    np.testing.assert_array_equal(data.test.indices, range(6))
    assert data.classes == ("0", "1", "2")
    assert (len(data.train), len(data.validation)) == (0, 0)
    assert set(describe(data)["parts"]) == {"test"}


def test_the_test_part_is_taken_where_there_is_one(tmp_path):
    both = {"x_train": PIXELS, "y_train": LABELS, "x_test": PIXELS[:2], "y_test": LABELS[:2]}
    assert len(load(tmp_path, npz(tmp_path, **both)).test) == 2


def test_a_test_part_alone_is_enough_here_and_refused_where_something_is_trained(tmp_path):
    spec = npz(tmp_path, x_test=PIXELS, y_test=LABELS)
    assert len(load(tmp_path, spec).test) == 6
    with pytest.raises(DataError, match=r"y_test: found no training images; accepted is data with"):
        load_data(spec, seed=0, folder=tmp_path)


def test_parts_without_a_test_part_are_refused(tmp_path):
    parts = {"x_train": PIXELS, "y_train": LABELS, "x_val": PIXELS, "y_val": LABELS}
    with pytest.raises(DataError, match="found the parts train, validation; accepted is data with"):
        load(tmp_path, npz(tmp_path, **parts))


def test_classes_of_the_model_without_an_image_are_no_fault(tmp_path):
    data = load(tmp_path, npz(tmp_path, images=PIXELS, labels=LABELS), logits=10)
    assert len(data.classes) == 10


def folder_of(root, *names):
    for place, name in enumerate(names):
        (root / name).mkdir()
        Image.fromarray(np.full((4, 4), 50 * place, np.uint8)).save(root / name / "a.png")
    return DataSpec(source="folder", path=".")


def test_classes_that_the_data_names_are_found_by_name_in_the_order_of_the_logits(tmp_path):
    spec = folder_of(tmp_path, "cat", "dog")
    data = load(tmp_path, spec, classes=("dog", "eel", "cat"))
    assert data.classes == ("dog", "eel", "cat")
    assert data.test.labels.tolist() == [2, 0]  # cat comes first in the folder
    assert data.test.images[:, 0, 0, 0].tolist() == [0, 50]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"logits": 2}, r"found the label 2; accepted are the 2 classes"),
        ({"classes": ("a", "b")}, "found 2 different names of classes for 3 logits"),
        ({"classes": ("a", "b", "a")}, "found 2 different names of classes for 3 logits"),
    ],
)
def test_classes_that_do_not_fit_the_logits_are_refused(options, words, tmp_path):
    with pytest.raises(DataError, match=words):
        load(tmp_path, npz(tmp_path, images=PIXELS, labels=LABELS), **options)


def test_names_of_the_data_must_be_the_models(tmp_path):
    spec = folder_of(tmp_path, "cat", "dog")
    with pytest.raises(DataError, match="found 2 classes for a model of 3 logits; accepted is one"):
        load(tmp_path, spec)
    with pytest.raises(DataError, match="found the class 'cat'; accepted are the model's: dog, e"):
        load(tmp_path, spec, classes=("dog", "eel", "fox"))
