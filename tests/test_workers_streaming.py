"""A training part that stays in its files: the same examples, few of them held, seeded orders."""

import pickle

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from certify.jobs.job import check_job
from models.errors import DataError, JobError
from models.model_spec import LinearSpec, MlpSpec
from models.networks.training import start_training, train_epoch
from models.spec import DataSpec
from models.splits import refuse_unreachable
from models.train_spec import TrainSpec
from tests.test_workers_sources_parquet import rows_of, write
from workers.data import describe, load_data
from workers.sources.stored_images import StoredImages
from workers.sources.streamed import StreamedSplit

ROWS = 120
LABELS = (np.arange(ROWS) * 3 // ROWS).tolist()  # sorted by class, the hardest order to shuffle
PIXELS = np.random.default_rng(0).integers(0, 256, (ROWS, 4, 4), dtype=np.uint8)
PIXELS += (60 * np.array(LABELS, dtype=np.uint8))[:, None, None] // 2


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The same images as Parquet files with row groups of 7, and as a folder."""
    root = tmp_path_factory.mktemp("images")
    for part, rows in enumerate((slice(0, 50), slice(50, ROWS))):
        columns = {"image": rows_of(PIXELS[rows]), "label": LABELS[rows]}
        write(root / "pq" / f"train-{part:05d}-of-00002.parquet", row_group_size=7, **columns)
    for row in range(ROWS):
        folder = root / "folder" / f"class{LABELS[row]}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS[row]).save(folder / f"{row:04d}.png")
    return root


def loaded(sources, kind, buffer, seed=5):
    path = "pq" if kind == "parquet" else "folder"
    spec = DataSpec(source=kind, path=path, buffer=buffer)
    return load_data(spec, seed=seed, folder=sources)


KINDS = pytest.mark.parametrize("kind", ["parquet", "folder"])


@KINDS
@pytest.mark.parametrize("buffer", [7, 20, 1000])
def test_streamed_examples_are_those_that_are_held(sources, kind, buffer):
    streamed, held = loaded(sources, kind, buffer), loaded(sources, kind, None)
    assert isinstance(streamed.train, StreamedSplit)
    assert describe(streamed) == describe(held)
    random = np.random.default_rng(buffer)
    some_rows = random.integers(0, len(held.train), 30)
    for rows in (slice(None), slice(3, 40), some_rows, some_rows[:0]):
        some, expected = streamed.train.take(rows), held.train.take(rows)
        assert some.sha256() == expected.sha256()
        assert (some.inputs() == expected.inputs()).all()
    for found, expected in zip(streamed.train.extremes(), held.train.extremes(), strict=True):
        assert (found == expected).all()
    assert streamed.train.stored.most_held <= buffer


@KINDS
@pytest.mark.parametrize("buffer", [7, 20, 60])
def test_an_epoch_reads_each_chunk_once_and_holds_no_more_than_the_buffer(sources, kind, buffer):
    train = loaded(sources, kind, buffer).train
    images = train.stored
    for batch_size in (1, 16, 50):
        order = train.order(0, batch_size)
        assert sorted(order.tolist()) == list(range(len(train)))
        before, images.most_held = images.reads, 0
        images._held.clear()
        images._count = 0
        for start in range(0, len(train), batch_size):
            train.take(order[start : start + batch_size])
        ends = np.cumsum(images.chunk_sizes)
        with_examples = np.unique(np.searchsorted(ends, train.indices, side="right"))
        assert images.reads - before == len(with_examples)
        assert 0 < images.most_held <= buffer


def test_a_buffer_that_is_not_kept_to_is_seen(sources):
    """The counter counts: rows that are asked for across all chunks fill the buffer to its brim."""
    train = loaded(sources, "parquet", 25).train
    train.take(np.arange(0, len(train), 5))
    assert train.stored.most_held > 14
    assert sum(len(chunk) for chunk in train.stored._held.values()) <= 25


@KINDS
def test_the_order_depends_on_seed_and_epoch_and_mixes_the_classes(sources, kind):
    train = loaded(sources, kind, 40).train
    again = loaded(sources, kind, 40).train
    orders = [train.order(seed, epoch).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4
    assert orders[1] == again.order(0, 1).tolist()
    for order in orders:
        first = np.array(train.labels)[order[: len(order) // 2]]
        assert len(set(first.tolist())) == 3


def states(train, *, epochs, start=None, model=None):
    spec, state = TrainSpec(epochs=3, batch_size=16), start
    model = model or MlpSpec(widths=(8,))
    told = {"classes": 3, "seed": 2}
    if state is None:
        state = start_training(model, spec, train, **told)
    for epoch in epochs:
        state, _ = train_epoch(state, model, spec, train, **told, epoch=epoch, device="cpu")
    return state


def test_a_streamed_folder_trains_to_the_same_bits_as_a_held_one(sources):
    streamed, held = (loaded(sources, "folder", buffer).train for buffer in (9, None))
    assert states(streamed, epochs=range(3)) == states(held, epochs=range(3))


def test_a_run_that_goes_on_elsewhere_ends_with_the_same_bits(sources):
    train = loaded(sources, "parquet", 25).train
    whole = states(train, epochs=range(3))
    begun = states(train, epochs=range(1))
    elsewhere = pickle.loads(pickle.dumps(train))
    assert not elsewhere.stored._held
    assert states(elsewhere, epochs=range(1, 3), start=begun) == whole
    assert states(loaded(sources, "parquet", 60).train, epochs=range(3)) != whole


def test_a_part_that_stays_in_its_files_is_refused_like_one_that_does_not(sources, tmp_path):
    write(tmp_path / "x.parquet", row_group_size=7, **columns_of(np.array([0, 1, 2, 4] * 30)))
    for buffer in (None, 30):
        with pytest.raises(DataError, match="no training example of class 3"):
            load_data(
                DataSpec(source="parquet", path="x.parquet", buffer=buffer), seed=0, folder=tmp_path
            )
    write(tmp_path / "x.parquet", row_group_size=7, **columns_of(LABELS, damaged=90))
    for buffer in (None, 30):
        with pytest.raises(DataError, match=r"x.parquet: image\[90\]: found no image"):
            load_data(
                DataSpec(source="parquet", path="x.parquet", buffer=buffer), seed=0, folder=tmp_path
            )


def read(folder, *, buffer):
    spec = DataSpec(source="parquet", path="x.parquet", buffer=buffer)
    return load_data(spec, seed=0, folder=folder)


def columns_of(labels, *, damaged=None):
    images = rows_of(PIXELS)
    if damaged is not None:
        images[damaged]["bytes"] = b"no image"
    return {"image": images, "label": list(labels)}


def test_a_row_group_beyond_the_buffer_is_refused_with_what_to_do(sources):
    with pytest.raises(DataError, match="row group 0: found 7 rows in one piece; accepted"):
        loaded(sources, "parquet", 6)


def test_a_file_that_changes_under_a_run_is_named(sources, tmp_path):
    path = write(tmp_path / "x.parquet", row_group_size=40, **columns_of(LABELS))
    train = load_data(
        DataSpec(source="parquet", path=str(path), buffer=40), seed=0, folder=tmp_path
    ).train
    table = pq.read_table(path)
    pq.write_table(table.slice(0, 60), path, row_group_size=40)
    with pytest.raises(DataError, match="found other rows than when the run began"):
        train.take(slice(0, len(train)))
    path.unlink()
    with pytest.raises(DataError, match=r"x.parquet: cannot be read"):
        train.take(slice(0, len(train)))


def test_an_image_that_goes_under_a_run_is_named(sources, tmp_path):
    for label in ("a", "b"):
        (tmp_path / "f" / label).mkdir(parents=True)
        for row in range(10):
            Image.fromarray(PIXELS[row]).save(tmp_path / "f" / label / f"{row}.png")
    train = load_data(DataSpec(source="folder", path="f", buffer=4), seed=0, folder=tmp_path).train
    for path in (tmp_path / "f" / "a").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"a/\d.png: cannot be read"):
        train.take(slice(0, len(train)))


def test_a_budget_beyond_any_radius_is_refused_of_a_stream_too(sources):
    dataset = loaded(sources, "parquet", 30)
    refuse_unreachable(dataset, [0.5])
    with pytest.raises(JobError, match="beyond any radius"):
        refuse_unreachable(dataset, [3.0])


@pytest.mark.parametrize("source", ["digits", "fashion-mnist", "npz"])
def test_a_buffer_is_for_files_that_can_be_read_again(source):
    path = {"path": "x"} if source == "npz" else {}
    with pytest.raises(JobError, match=f"data: buffer is not accepted with source '{source}'"):
        check_job({"name": "x", "data": {"source": source, "buffer": 9} | path}, place="job")


class Numbers:
    """Chunks of given sizes whose images tell their row."""

    image_shape = (1, 1, 2)

    def __init__(self, sizes):
        self.sizes = np.array(sizes, dtype=np.int64)
        self.starts = np.concatenate([[0], np.cumsum(self.sizes)])

    def place(self, chunk):
        return str(chunk)

    def read(self, chunks):
        rows = [np.arange(self.starts[c], self.starts[c + 1]) for c in chunks]
        return [np.stack(np.divmod(r, 256), axis=1).astype(np.uint8)[:, None, None] for r in rows]


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=30),
    st.integers(0, 30),
    st.lists(st.lists(st.integers(0, 10**6), max_size=30), max_size=5),
)
def test_any_rows_of_any_chunks_come_in_their_order_within_the_buffer(sizes, more, requests):
    images = StoredImages(Numbers(sizes), buffer=max(sizes) + more)
    for request in requests:
        rows = np.array(request, dtype=np.int64) % len(images)
        found = images[rows][:, 0, 0].astype(int)
        assert (found[:, 0] * 256 + found[:, 1] == rows).all()
    assert images.most_held <= max(sizes) + more


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(0, 30), st.integers(0, 9))
def test_an_order_holds_each_kept_row_once(sizes, more, seed):
    images = StoredImages(Numbers(sizes), buffer=max(sizes) + more)
    kept = np.flatnonzero(np.random.default_rng(seed).random(len(images)) < 0.7)
    train = StreamedSplit(images, kept % 3, kept)
    order = train.order(seed, 1)
    assert sorted(order.tolist()) == list(range(len(kept)))


def test_the_first_layer_of_a_linear_model_starts_from_a_stream(sources):
    streamed, held = (loaded(sources, "folder", buffer).train for buffer in (9, None))
    both = [
        states(train, epochs=[], model=LinearSpec(architecture="linear"))
        for train in (streamed, held)
    ]
    assert both[0] == both[1]
