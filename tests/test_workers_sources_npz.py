"""npz files: exact pixels from every layout, and a refusal that names array and index."""

import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.errors import DataError
from workers.sources.npz import accepted_images, read_npz

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 0, 1, 1, 0])


def refusal(read, *arguments, **named) -> str:
    """The message of what is refused; empty where it is accepted."""
    try:
        read(*arguments, **named)
    except DataError as fault:
        return str(fault)
    return ""


def written(folder, **arrays):
    path = folder / "images.npz"
    np.savez_compressed(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (PIXELS, PIXELS.transpose(0, 3, 1, 2)),
        (PIXELS.transpose(0, 3, 1, 2), PIXELS.transpose(0, 3, 1, 2)),
        (PIXELS[..., 0], PIXELS[:, None, :, :, 0]),
        (PIXELS[..., :1], PIXELS[:, None, :, :, 0]),
        (PIXELS[:, None, :, :, 0], PIXELS[:, None, :, :, 0]),
    ],
)
def test_every_layout_gives_the_same_pixels(tmp_path, stored, expected):
    source = read_npz(written(tmp_path, images=stored, labels=LABELS))
    assert source.parts["train"].images.dtype == np.uint8
    assert (source.parts["train"].images == expected).all()
    assert (source.parts["train"].labels == LABELS).all()


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", ">f8"])
def test_floats_become_the_nearest_float32(tmp_path, dtype):
    stored = (PIXELS / 255).astype(dtype)
    images = read_npz(written(tmp_path, images=stored, labels=LABELS)).parts["train"].images
    assert images.dtype == np.float32
    assert images.dtype.isnative
    assert (images == stored.astype("<f4").transpose(0, 3, 1, 2)).all()


@pytest.mark.parametrize("dtype", ["u1", "i1", "<i8", ">i4", "<u8"])
@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_labels_of_every_integer_type_and_both_shapes(tmp_path, dtype, shape):
    path = written(tmp_path, images=PIXELS, labels=LABELS.astype(dtype).reshape(shape))
    labels = read_npz(path).parts["train"].labels
    assert labels.dtype == np.int64
    assert labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (("x_train", "y_train", "x_test", "y_test"), ["train", "test"]),
        (
            (
                "train_images",
                "train_labels",
                "val_images",
                "val_labels",
                "test_images",
                "test_labels",
            ),
            ["train", "validation", "test"],
        ),
        (("images", "labels"), ["train"]),
    ],
)
def test_every_naming_gives_its_parts(tmp_path, names, parts):
    arrays = {name: (LABELS if i % 2 else PIXELS) for i, name in enumerate(names)}
    source = read_npz(written(tmp_path, **arrays, classes=np.array(["cat", "dog"])))
    assert list(source.parts) == parts
    assert source.classes == ("cat", "dog")


def with_value(value, index=(3, 0, 2, 1)):
    pixels = PIXELS / 255
    pixels[index] = value
    return pixels


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (with_value(np.nan), r"npz: images\[3, 0, 2, 1\]: found the pixel nan; accepted"),
        (with_value(np.inf), r"npz: images\[3, 0, 2, 1\]: found the pixel inf; accepted"),
        (with_value(-1e-9), r"npz: images\[3, 0, 2, 1\]: found the pixel -1e-09; accepted"),
        (with_value(1 + 1e-9), r"npz: images\[3, 0, 2, 1\]: found the pixel 1.000000001; accepted"),
        (with_value(200.0), r"found the pixel 200.0; accepted .* 0 to 1; divide by 255, or store"),
        (PIXELS.astype(int), r"npz: images: found pixels of type int64; accepted are uint8"),
        (PIXELS > 100, r"npz: images: found pixels of type bool; accepted are uint8"),
        (PIXELS * 1j, r"npz: images: found pixels of type complex128; accepted are uint8"),
        (PIXELS[:0], r"npz: images: found no image, shape \(0, 5, 4, 3\); accepted is at least"),
        (PIXELS[:, :0], r"npz: images: found images of shape \(6, 0, 4, 3\); accepted are N×H×W"),
        (PIXELS[0, 0], r"npz: images: found images of shape \(4, 3\); accepted are N×H×W"),
        (PIXELS[..., :2], r"npz: images: found images of shape \(6, 5, 4, 2\); accepted are N×H"),
        (PIXELS[:, :3], r"npz: images: found images of shape \(6, 3, 4, 3\), whose channels may"),
    ],
)
def test_images_that_cannot_be_accepted(tmp_path, images, message):
    with pytest.raises(DataError, match=message):
        read_npz(written(tmp_path, images=images, labels=LABELS))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS - 1, r"npz: labels\[0\]: found the label -1; accepted are classes counted from 0"),
        (LABELS / 2, r"npz: labels: found labels of type float64; accepted are integers"),
        (LABELS > 0, r"npz: labels: found labels of type bool; accepted are integers"),
        (LABELS.astype(str), r"npz: labels: found labels of type <U21; accepted are integers"),
        (
            LABELS.astype(np.uint64) + np.uint64(2**63),
            r"npz: labels\[0\]: found the label 9223372036854775808; accepted are classes",
        ),
        (np.eye(6, dtype=int), r"npz: labels: found labels of shape \(6, 6\); accepted are \(N,\)"),
        (np.array(1), r"npz: labels: found labels of shape \(\); accepted are \(N,\)"),
    ],
)
def test_labels_that_cannot_be_accepted(tmp_path, labels, message):
    with pytest.raises(DataError, match=message):
        read_npz(written(tmp_path, images=PIXELS, labels=labels))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, r"npz: found the arrays of no name; accepted are x_train, y_train"),
        ({"x": PIXELS, "y": LABELS}, r"npz: found the arrays x, y; accepted are x_train"),
        (
            {"images": PIXELS},
            r"npz: found images, but no labels; accepted are images and labels in",
        ),
        (
            {"x_train": PIXELS, "y_train": LABELS, "x_test": PIXELS},
            r"npz: found x_test, x_train, y_train, but no y_test; accepted are images and",
        ),
        (
            {"images": PIXELS, "labels": LABELS, "x_train": PIXELS, "y_train": LABELS},
            r"npz: found the arrays images, labels, x_train, y_train; accepted are",
        ),
        (
            {"images": PIXELS, "labels": LABELS, "x_valid": PIXELS},
            r"npz: found the arrays images, labels, x_valid; accepted are",
        ),
        (
            {"images": PIXELS, "labels": LABELS, "classes": np.array([1, 2])},
            r"npz: classes: found type int64, shape \(2,\); accepted is a list of texts",
        ),
        (
            {"images": PIXELS, "labels": LABELS, "classes": np.array(["cat", "cat"])},
            r"npz: classes: found the class name 'cat' twice; accepted is once",
        ),
        (
            {"images": PIXELS, "labels": LABELS, "classes": np.array(["cat", "d\nog"])},
            r"npz: classes: found the class name 'd\\nog'; accepted are printable texts",
        ),
    ],
)
def test_arrays_that_do_not_fit_a_naming(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message):
        read_npz(written(tmp_path, **arrays))


class Alarm:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_objects_are_refused_and_not_run(tmp_path):
    alarm = tmp_path / "it ran"
    path = written(tmp_path, images=PIXELS, labels=np.array([Alarm(alarm)] * 6, dtype=object))
    with pytest.raises(
        DataError, match=r"images.npz: found no npz file that can be read \(Object a"
    ):
        read_npz(path)
    path.write_bytes(pickle.dumps(Alarm(alarm)))
    with pytest.raises(DataError, match=r"images.npz: found no npz file that can be read"):
        read_npz(path)
    assert not alarm.exists()


def test_a_folder_and_a_bare_array_are_refused(tmp_path):
    with pytest.raises(DataError, match="found a folder; accepted is a file"):
        read_npz(tmp_path)
    np.save(tmp_path / "array.npy", PIXELS)
    with pytest.raises(DataError, match=r"array.npy: found no npz file that can be read"):
        read_npz(tmp_path / "array.npy")


def test_a_file_that_claims_too_much_is_refused_unread(tmp_path, monkeypatch):
    path = written(tmp_path, images=PIXELS, labels=LABELS)
    monkeypatch.setattr("workers.sources.npz.MOST_BYTES", 100)
    with pytest.raises(DataError, match=r"npz: found \d+ bytes of arrays; accepted are"):
        read_npz(path)


def test_a_header_that_claims_too_much_is_refused(tmp_path):
    path = tmp_path / "images.npz"
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000, 1000), }"
    header += b" " * (117 - len(header)) + b"\n"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("images.npy", b"\x93NUMPY\x01\x00" + bytes([118, 0]) + header)
    with pytest.raises(DataError, match=r"images.npz: found no npz file that can be read"):
        read_npz(path)


@given(data=st.data())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path, data):
    path = written(tmp_path, images=PIXELS, labels=LABELS)
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    assert "\n" not in refusal(read_npz, path)


@given(
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    last=st.booleans(),
)
def test_four_axes_are_read_in_one_way_or_refused(channels, height, width, last):
    shape = (2, height, width, channels) if last else (2, channels, height, width)
    stored = np.zeros(shape, dtype=np.uint8)
    if (height if last else width) in (1, 3):
        assert "may be axis 1 or axis 3" in refusal(accepted_images, stored, where="x")
    else:
        assert accepted_images(stored, where="x").shape == (2, channels, height, width)
