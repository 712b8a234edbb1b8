"""Parquet in Hugging Face's layout: parts by name, columns by name, refusals by row."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from models.errors import DataError
from models.spec import DataSpec
from workers.data import load_data
from workers.sources.parquet import read_parquet

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 4, 5, 3), dtype=np.uint8)
LABELS = [0, 1, 2] * 4


def refusal(read, *arguments, **named) -> str:
    """The message of what is refused; empty where it is accepted."""
    try:
        read(*arguments, **named)
    except DataError as fault:
        return str(fault)
    return ""


def png(pixels) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def rows_of(pixels):
    return [{"bytes": png(image), "path": f"{i}.png"} for i, image in enumerate(pixels)]


def write(path, *, names=None, row_group_size=5, **columns):
    columns = columns or {"image": rows_of(PIXELS), "label": LABELS}
    table = pa.table(columns)
    if names is not None:
        features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


@pytest.mark.parametrize("image", ["image", "img"])
@pytest.mark.parametrize("label", ["label", "labels", "fine_label"])
@pytest.mark.parametrize("pixels", [PIXELS, PIXELS[..., 0]], ids=["colour", "grey"])
def test_a_file_gives_exact_pixels_and_labels(tmp_path, image, label, pixels):
    path = write(tmp_path / "x.parquet", **{image: rows_of(pixels), label: LABELS, "id": LABELS})
    source = read_parquet(path)
    assert list(source.parts) == ["train"]
    assert source.classes is None
    expected = pixels.reshape(12, 4, 5, -1).transpose(0, 3, 1, 2)
    assert (source.parts["train"].images == expected).all()
    assert source.parts["train"].labels.tolist() == LABELS


def test_rows_of_many_batches_keep_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr("workers.sources.parquet.ROWS", 5)
    part = read_parquet(write(tmp_path / "x.parquet")).parts["train"]
    assert (part.images == PIXELS.transpose(0, 3, 1, 2)).all()
    assert part.labels.tolist() == LABELS


def test_names_of_classes_come_from_the_metadata(tmp_path):
    path = write(tmp_path / "x.parquet", names=["ant", "bee", "cat"])
    assert read_parquet(path).classes == ("ant", "bee", "cat")


@pytest.mark.parametrize(
    "files",
    [
        {"train.parquet": "train", "validation.parquet": "validation", "test.parquet": "test"},
        {"data/train-00000-of-00001.parquet": "train", "data/val-0.parquet": "validation"},
        {"pets-train.parquet": "train", "pets-test.parquet": "test"},
    ],
)
def test_names_of_files_tell_the_parts(tmp_path, files):
    for name in files:
        write(tmp_path / name)
    (tmp_path / "README.md").touch()
    assert sorted(read_parquet(tmp_path).parts) == sorted(files.values())


def test_pieces_of_a_part_are_joined_by_name(tmp_path):
    for piece, rows in ((1, slice(5, 12)), (0, slice(0, 5))):
        write(
            tmp_path / f"train-{piece:05}-of-00002.parquet",
            image=rows_of(PIXELS[rows]),
            label=LABELS[rows],
        )
    part = read_parquet(tmp_path).parts["train"]
    assert (part.images == PIXELS.transpose(0, 3, 1, 2)).all()
    assert part.labels.tolist() == LABELS
    assert part.place(6).endswith("train-00001-of-00002.parquet: label[1]")


def test_a_missing_piece_is_refused(tmp_path):
    write(tmp_path / "train-00000-of-00002.parquet")
    with pytest.raises(DataError, match="found 1 files of a part that has 2; accepted are all"):
        read_parquet(tmp_path)


@pytest.mark.parametrize("name", ["data.parquet", "train-test.parquet", "retrain.parquet"])
def test_a_name_that_tells_no_part_is_refused(tmp_path, name):
    write(tmp_path / name)
    with pytest.raises(DataError, match=rf"{name}: found a name that tells no part, or two"):
        read_parquet(tmp_path)


def test_a_folder_without_a_train_part_is_refused(tmp_path):
    with pytest.raises(DataError, match="found 0 Parquet files, none of a train part"):
        read_parquet(tmp_path)
    write(tmp_path / "test.parquet")
    with pytest.raises(DataError, match="found 1 Parquet files, none of a train part"):
        read_parquet(tmp_path)


IMAGES = rows_of(PIXELS)
BARE = [row["bytes"] for row in IMAGES]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": LABELS}, "found the columns label; accepted is one of images: image or img"),
        ({"image": IMAGES, "img": IMAGES, "label": LABELS}, "found the columns image, img, label;"),
        ({"image": IMAGES}, "found the columns image; accepted is one of labels: label or labels"),
        (
            {"image": IMAGES, "fine_label": LABELS, "coarse_label": LABELS},
            "found the columns .*; accepted is one of labels: .*; choose with data.label_column",
        ),
        ({"image": BARE, "label": LABELS}, "image: found type binary; accepted is a struct of"),
        ({"image": IMAGES, "label": list("abc" * 4)}, "label: found type string; accepted are"),
        ({"image": IMAGES, "label": [0.5] * 12}, "label: found type double; accepted are"),
        ({"image": IMAGES, "label": [True] * 12}, "label: found type bool; accepted are"),
        ({"image": IMAGES, "label": [*LABELS[:11], -1]}, r"label\[11\]: found the label -1;"),
        ({"image": IMAGES, "label": [*LABELS[:11], None]}, r"label\[11\]: found no label;"),
        (
            {"image": [*IMAGES[:7], {"bytes": None, "path": "x.png"}], "label": LABELS[:8]},
            r"image\[7\]: found no bytes; accepted are embedded images",
        ),
        (
            {"image": [*IMAGES[:7], None], "label": LABELS[:8]},
            r"image\[7\]: found no bytes; accepted are embedded images",
        ),
        (
            {"image": [*IMAGES[:7], {"bytes": BARE[7][:-9], "path": "x"}], "label": LABELS[:8]},
            r"image\[7\]: found a truncated image",
        ),
        (
            {"image": IMAGES[:7] + rows_of(PIXELS[:1, :3]), "label": LABELS[:8]},
            r"image\[7\]: found an image of 3 × 5 RGB; accepted is 4 × 5 RGB, as in .*image\[0\]",
        ),
    ],
)
def test_columns_that_cannot_be_accepted(tmp_path, monkeypatch, columns, message):
    monkeypatch.setattr("workers.sources.parquet.ROWS", 5)
    path = write(tmp_path / "x.parquet", **columns)
    with pytest.raises(DataError, match=f"x.parquet: {message}"):
        read_parquet(path)


def test_a_label_column_can_be_chosen(tmp_path):
    coarse = [label // 2 for label in LABELS]
    write(tmp_path / "x.parquet", image=IMAGES, fine_label=LABELS, coarse_label=coarse)
    for column, labels in (("fine_label", LABELS), ("coarse_label", coarse)):
        found = read_parquet(tmp_path / "x.parquet", label_column=column)
        assert found.parts["train"].labels.tolist() == labels
    with pytest.raises(DataError, match=r"accepted is one of labels: kind$"):
        read_parquet(tmp_path / "x.parquet", label_column="kind")
    spec = DataSpec(source="parquet", path="x.parquet", label_column="coarse_label")
    assert load_data(spec, seed=0, folder=tmp_path).classes == ("0", "1")


def test_an_empty_part_is_refused(tmp_path):
    table = pa.table({"image": IMAGES, "label": LABELS}).slice(0, 0)
    pq.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(DataError, match=r"train.parquet: found no row; accepted is a part"):
        read_parquet(tmp_path)


def test_a_later_empty_part_is_refused(tmp_path):
    write(tmp_path / "train.parquet")
    table = pa.table({"image": IMAGES, "label": LABELS}).slice(0, 0)
    pq.write_table(table, tmp_path / "test.parquet")
    with pytest.raises(DataError, match=r"test.parquet: found no row; accepted is a part"):
        read_parquet(tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("abc", "found the class names 'abc'; accepted is a list of texts"),
        ([1, 2, 3], "found the class name 1; accepted are printable texts"),
        (["a", "b", "a"], "found the class name 'a' twice; accepted is once"),
    ],
)
def test_names_that_cannot_be_accepted(tmp_path, names, message):
    with pytest.raises(DataError, match=f"metadata huggingface: {message}"):
        read_parquet(write(tmp_path / "x.parquet", names=names))


def test_metadata_that_are_no_json_are_refused(tmp_path):
    table = pa.table({"image": IMAGES, "label": LABELS})
    pq.write_table(table.replace_schema_metadata({"huggingface": "{"}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="metadata huggingface: cannot be read"):
        read_parquet(tmp_path / "x.parquet")


def test_parts_with_other_classes_are_refused(tmp_path):
    write(tmp_path / "train.parquet", names=["ant", "bee", "cat"])
    write(tmp_path / "test.parquet", names=["bee", "ant", "cat"])
    with pytest.raises(DataError, match=r"test.parquet: found the classes .*, as in .*train.parq"):
        read_parquet(tmp_path)


@given(data=st.data())
@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path, data):
    path = write(tmp_path / "x.parquet", names=["ant", "bee", "cat"])
    content = bytearray(path.read_bytes())
    footer = len(content) - 1500  # schema and statistics are where damage does most
    for place in data.draw(st.lists(st.integers(footer, len(content) - 1), min_size=1, max_size=3)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    spec = DataSpec(source="parquet", path=str(path))
    assert "\n" not in refusal(load_data, spec, seed=0, folder=tmp_path)


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "x.parquet").write_text("text that is no Parquet file")
    with pytest.raises(DataError, match=r"x.parquet: cannot be read: "):
        read_parquet(tmp_path / "x.parquet")
