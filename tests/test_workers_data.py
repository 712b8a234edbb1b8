"""The split: parts never overlap, cover what they are cut from, and depend on the seed alone."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from models.errors import DataError
from models.spec import DataSpec
from models.splits import Dataset
from workers.data import cut_rows, describe, load_data

LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=80).map(np.array)
SHARES = st.floats(0.01, 0.99)
SEEDS = st.integers(0, 2**64)


def load_npz(folder: Path, *, seed: int = 0, **arrays: np.ndarray) -> Dataset:
    np.savez(folder / "images.npz", **arrays)
    return load_data(DataSpec(source="npz", path="images.npz"), seed=seed, folder=folder)


def numbered(labels: np.ndarray) -> np.ndarray:
    """Images that tell their row: 2 x 2 bytes with the number in the first two."""
    images = np.zeros((len(labels), 2, 2), dtype=np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.divmod(np.arange(len(labels)), 256)
    return images


def rows_shown(part) -> np.ndarray:
    return part.images[:, 0, 0, 0].astype(int) * 256 + part.images[:, 0, 0, 1]


@given(LABELS, SHARES, SEEDS)
def test_a_cut_takes_a_share_of_each_class_and_never_all(labels, share, seed):
    cut = cut_rows(labels, share=share, seed=seed, stream=1)
    for label in np.unique(labels):
        of_class = labels == label
        taken, count = int(cut[of_class].sum()), int(of_class.sum())
        assert taken < count
        assert taken >= min(1, count - 1)
        assert abs(taken - share * count) <= 1


@given(LABELS, SHARES, SEEDS)
def test_the_same_seed_cuts_the_same_rows(labels, share, seed):
    first = cut_rows(labels, share=share, seed=seed, stream=1)
    assert (first == cut_rows(labels, share=share, seed=seed, stream=1)).all()


@given(SEEDS, SEEDS)
def test_another_seed_or_stream_cuts_other_rows(one, other):
    labels = np.arange(200) % 2
    first = cut_rows(labels, share=0.5, seed=one, stream=1)
    assert (first == cut_rows(labels, share=0.5, seed=other, stream=1)).all() == (one == other)
    assert (first != cut_rows(labels, share=0.5, seed=one, stream=2)).any()


def test_a_cut_of_one_class_ignores_the_others():
    labels = np.array([0, 1] * 20)
    cut = cut_rows(labels, share=0.3, seed=7, stream=1)
    alone = cut_rows(labels[labels == 1], share=0.3, seed=7, stream=1)
    assert (cut[labels == 1] == alone).all()


def test_a_cut_is_the_same_on_every_machine():
    cut = cut_rows(np.zeros(20, dtype=int), share=0.3, seed=0, stream=1)
    assert np.flatnonzero(cut).tolist() == [2, 9, 14, 16, 18, 19]


@pytest.mark.parametrize("seed", [0, 1, 12345])
@pytest.mark.parametrize("classes", [2, 100])
def test_three_parts_cover_the_source_and_share_nothing(tmp_path, classes, seed):
    labels = np.random.default_rng(seed).permutation(np.arange(classes * 6) % classes)
    data = load_npz(tmp_path, seed=seed, images=numbered(labels), labels=labels)
    parts = (data.train, data.validation, data.test)
    assert sorted(np.concatenate([part.indices for part in parts])) == list(range(len(labels)))
    for part in parts:
        assert (np.diff(part.indices) > 0).all()
        assert (rows_shown(part) == part.indices).all()
        assert (labels[part.indices] == part.labels).all()
        assert set(part.labels) == set(range(classes))
    assert len(data.classes) == classes


def test_seeds_decide_the_parts(tmp_path):
    labels = np.arange(60) % 3
    arrays = {"images": numbered(labels), "labels": labels}
    one, same, other = (load_npz(tmp_path, seed=seed, **arrays) for seed in (1, 1, 2))
    assert describe(one) == describe(same)
    for part in ("train", "validation", "test"):
        assert getattr(one, part).sha256() != getattr(other, part).sha256()


def test_parts_that_the_source_has_stay_whole_and_in_order(tmp_path):
    labels = np.arange(40) % 2
    test_labels = np.array([1, 0, 0, 1, 1])
    arrays = {"x_train": numbered(labels), "y_train": labels}
    cut = load_npz(tmp_path, **arrays, x_test=numbered(test_labels), y_test=test_labels)
    assert (cut.test.labels == test_labels).all()
    assert (cut.test.indices == np.arange(5)).all()
    assert (rows_shown(cut.test) == np.arange(5)).all()
    assert len(cut.validation) == 4
    assert not set(cut.train.indices) & set(cut.validation.indices)
    given = load_npz(tmp_path, **arrays, x_val=numbered(test_labels), y_val=test_labels)
    assert (given.validation.labels == test_labels).all()
    assert len(given.test) == 8
    assert len(given.train) == 32


def test_a_test_cut_does_not_depend_on_whether_there_is_a_validation_part(tmp_path):
    labels = np.arange(40) % 2
    arrays = {"x_train": numbered(labels), "y_train": labels}
    without = load_npz(tmp_path, **arrays)
    with_one = load_npz(tmp_path, **arrays, x_val=numbered(labels), y_val=labels)
    assert without.test.sha256() == with_one.test.sha256()


def test_digits_are_sixteenths_of_scikit_learns():
    data = load_data(DataSpec(), seed=3, folder=Path())
    assert data.input_shape == (1, 8, 8)
    assert data.classes == tuple("0123456789")
    assert sum(map(len, (data.train, data.validation, data.test))) == 1797
    bunch = load_digits()
    for part in (data.train, data.validation, data.test):
        assert part.images.dtype == np.float32
        assert (part.images[:, 0].astype(float) * 16 == bunch.images[part.indices]).all()
        assert (part.labels == bunch.target[part.indices]).all()


def test_the_description_is_plain_json_and_counts_every_part():
    data = load_data(DataSpec(), seed=0, folder=Path())
    found = describe(data)
    assert json.loads(json.dumps(found)) == found
    assert found["input_shape"] == [1, 8, 8]
    assert found["pixels"] == "float32"
    assert {name: part["examples"] for name, part in found["parts"].items()} == {
        "train": len(data.train),
        "validation": len(data.validation),
        "test": len(data.test),
    }
    assert sum(found["parts"]["test"]["examples_by_class"]) == len(data.test)
    assert found["parts"]["test"]["sha256"] == data.test.sha256()


def test_arrays_belong_to_the_dataset_and_may_be_written_to(tmp_path):
    labels = np.arange(20) % 2
    data = load_npz(tmp_path, x_train=numbered(labels), y_train=labels)
    for part in (data.train, data.validation, data.test):
        for array in (part.images, part.labels, part.indices):
            assert array.flags.writeable
            assert array.flags.c_contiguous


def test_loading_data_needs_neither_ray_nor_torch():
    code = (
        "import sys; from pathlib import Path; from models.spec import DataSpec; "
        "from workers.data import load_data; "
        "assert not {'sklearn', 'PIL', 'pyarrow'} & set(sys.modules); "
        "load_data(DataSpec(), seed=0, folder=Path()); "
        "assert not {'ray', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


ONES = np.ones((4, 2, 2), dtype=np.uint8)
TWO = np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"images": ONES, "labels": np.array([0, 0, 0, 0])},
            r"npz: labels: found 1 class; accepted are 2 or more",
        ),
        (
            {"images": ONES, "labels": np.array([0, 2, 0, 2])},
            r"npz: labels: found no training example of class 1, but one of class 2; accepted are",
        ),
        (
            {"x_train": ONES, "y_train": TWO, "x_test": ONES, "y_test": TWO * 3},
            r"npz: y_test\[1\]: found the label 3; accepted are the 2 classes from 0 to 1",
        ),
        (
            {"images": ONES, "labels": TWO, "classes": np.array(["cat", "dog", "eel"])},
            r"npz: labels: found no training example of class 2 \(eel\); accepted is at least one",
        ),
        (
            {"images": ONES, "labels": TWO * 2, "classes": np.array(["cat", "dog"])},
            r"npz: labels\[1\]: found the label 2; accepted are the 2 classes from 0 to 1",
        ),
        (
            {"images": ONES, "labels": TWO[:3]},
            r"npz: labels: found 3 labels for 4 images of the train part; accepted is one for each",
        ),
        (
            {"x_train": ONES, "y_train": TWO, "x_test": ONES[:, :1], "y_test": TWO},
            r"npz: y_test: found test images of \(1, 1, 2\); accepted is \(1, 2, 2\), as in train",
        ),
        (
            {"x_train": ONES, "y_train": TWO, "x_test": ONES / 1.0, "y_test": TWO},
            r"npz: y_test: found test images of float32; accepted is uint8, as in train",
        ),
        (
            {"images": ONES[:2], "labels": TWO[:2]},
            r"npz: labels: found 2 training images, too few to cut a test part; accepted are 2 or",
        ),
        (
            {"images": ONES, "labels": TWO},
            r"npz: labels: found 2 training images, too few to cut a validation part; accepted",
        ),
    ],
)
def test_data_that_make_no_task_are_refused(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message):
        load_npz(tmp_path, **arrays)


@pytest.mark.parametrize("source", ["folder", "npz", "parquet", "fashion-mnist"])
@pytest.mark.parametrize("path", ["absent", "a\0b", "file/below", "~nobody-of-this-name/x"])
def test_a_path_that_leads_nowhere_is_refused(tmp_path, source, path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError) as caught:
        load_data(DataSpec(source=source, path=path), seed=0, folder=tmp_path)
    assert "\n" not in str(caught.value)
    assert "found nothing there" in str(caught.value) or "cannot be read" in str(caught.value)


def test_a_relative_path_starts_at_the_folder_of_the_job(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    labels = np.arange(20) % 2
    np.savez(tmp_path / "images.npz", images=numbered(labels), labels=labels)
    for path in ("images.npz", str(tmp_path / "images.npz")):
        spec = DataSpec(source="npz", path=path)
        assert len(load_data(spec, seed=0, folder=tmp_path).test) == 4


@pytest.mark.parametrize(
    "spec",
    [
        {"source": "digits", "label_column": "label"},
        {"source": "npz", "path": "x.npz", "label_column": "label"},
    ],
)
def test_a_label_column_is_for_parquet_alone(spec):
    with pytest.raises(ValueError, match="label_column is not accepted"):
        DataSpec(**spec)
