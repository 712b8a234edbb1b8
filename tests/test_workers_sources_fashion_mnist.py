"""Fashion-MNIST: three ways to it, and nothing else under its name."""

import gzip
import hashlib
import http.server
import io
import os
import socket
import struct
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from models.errors import DataError
from models.spec import DataSpec
from workers.data import load_data
from workers.sources import download as download_module
from workers.sources import fashion_mnist as source_module
from workers.sources.download import cache_folder, download
from workers.sources.fashion_mnist import DEBIAN_FOLDER, FILES, IdxFile, read_fashion_mnist
from workers.sources.idx import idx_size, inflated, parse_idx, read_idx_file

SHAPE = (3, 2, 4)
ARRAY = np.arange(24, dtype=np.uint8).reshape(SHAPE)


def idx(array) -> bytes:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


CONTENT = idx(ARRAY)


def test_an_idx_file_comes_back_to_the_byte(tmp_path):
    for name, stored in (("bare", CONTENT), ("packed.gz", gzip.compress(CONTENT))):
        (tmp_path / name).write_bytes(stored)
        content = read_idx_file(tmp_path / name, shape=SHAPE)
        assert (parse_idx(content, shape=SHAPE, where="x") == ARRAY).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found the magic number of no byte; accepted is 00000803"),
        (b"\0\0\x08\x01" + CONTENT[4:], "found the magic number 00000801; accepted is 00000803"),
        (b"\0\0\x0d\x03" + CONTENT[4:], "found the magic number 00000d03; accepted is 00000803"),
        (CONTENT[:9], "found 9 bytes; accepted are 40"),
        (CONTENT[:-1], "found 39 bytes; accepted are 40"),
        (CONTENT + b"\0", "found more bytes; accepted are 40"),
        (idx(ARRAY[:2]), r"found an array of shape \(2, 2, 4\); accepted is \(3, 2, 4\)"),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_an_idx_file_that_cannot_be_accepted(tmp_path, content, message, pack):
    (tmp_path / "x").write_bytes(pack(content))
    with pytest.raises(DataError, match=f"x: {message}"):
        read_idx_file(tmp_path / "x", shape=SHAPE)


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-4], lambda b: b[:-6] + b"\xff" + b[-5:], lambda b: b[:12] + b"\xff" * 20],
)
def test_a_damaged_gzip_file_is_refused(tmp_path, damage):
    (tmp_path / "x.gz").write_bytes(damage(gzip.compress(CONTENT)))
    with pytest.raises(DataError, match=r"x.gz: cannot be read: "):
        read_idx_file(tmp_path / "x.gz", shape=SHAPE)


def test_a_gzip_bomb_is_not_inflated(tmp_path):
    (tmp_path / "x.gz").write_bytes(gzip.compress(CONTENT + bytes(10**8), 1))
    with pytest.raises(DataError, match=r"x.gz: found more bytes; accepted are 40"):
        read_idx_file(tmp_path / "x.gz", shape=SHAPE)
    stream = io.BytesIO((tmp_path / "x.gz").read_bytes())
    assert len(inflated(stream, most=41)) == 41
    assert stream.tell() < 20_000


# A Fashion-MNIST of 20 + 4 images of 3 × 3, with hashes of its own.


def small_files():
    arrays = {}
    for part, prefix, count in (("train", "train", 20), ("test", "t10k", 4)):
        pixels = np.random.default_rng(count).integers(0, 256, (count, 3, 3), dtype=np.uint8)
        labels = (np.arange(count) % 10 if part == "train" else np.arange(count)).astype(np.uint8)
        arrays[part] = (
            (f"{prefix}-images-idx3-ubyte", pixels),
            (f"{prefix}-labels-idx1-ubyte", labels),
        )
    return arrays


SMALL = small_files()
SMALL_CONTENTS = {name: idx(array) for pair in SMALL.values() for name, array in pair}


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The small twin in place of the real one; nothing found, no server, an empty cache."""
    files = {
        part: tuple(
            IdxFile(name, array.shape, hashlib.sha256(idx(array)).hexdigest())
            for name, array in pair
        )
        for part, pair in SMALL.items()
    }
    monkeypatch.setattr(source_module, "FILES", files)
    monkeypatch.setattr(source_module, "DEBIAN_FOLDER", tmp_path / "debian")
    monkeypatch.setattr(source_module, "SERVERS", ())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "cache"))
    return tmp_path


def store(folder: Path, *, dotted=False, packed=True, level=9):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in SMALL_CONTENTS.items():
        stored = name.replace("-idx", ".idx") if dotted else name
        if packed:
            (folder / f"{stored}.gz").write_bytes(gzip.compress(content, level))
        else:
            (folder / stored).write_bytes(content)


def check_small(source):
    for part, ((_, pixels), (_, labels)) in SMALL.items():
        assert (source.parts[part].images[:, 0] == pixels).all()
        assert (source.parts[part].labels == labels).all()
    assert source.classes[0] == "T-shirt/top"
    assert len(source.classes) == 10


@pytest.mark.parametrize("dotted", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_a_given_folder_under_all_usual_names(small, dotted, packed):
    store(small / "given", dotted=dotted, packed=packed, level=1)
    check_small(read_fashion_mnist(small / "given"))
    spec = DataSpec(source="fashion-mnist", path="given")
    data = load_data(spec, seed=0, folder=small)
    assert (len(data.train), len(data.validation), len(data.test)) == (10, 10, 4)


def test_debians_folder_is_found(small):
    store(small / "debian")
    check_small(read_fashion_mnist(None))


def test_a_given_folder_that_lacks_a_file_is_refused(small):
    store(small / "given")
    store(small / "debian")
    (small / "given" / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(DataError, match="given: found no t10k-images-idx3-ubyte; accepted is a fo"):
        read_fashion_mnist(small / "given")


def test_images_of_another_set_are_refused(small):
    store(small / "given", packed=False)
    name = "train-images-idx3-ubyte"
    (small / "given" / name).write_bytes(idx(255 - SMALL["train"][0][1]))
    with pytest.raises(
        DataError, match=rf"{name}: found content with SHA-256 .* convert them to npz"
    ):
        read_fashion_mnist(small / "given")


def test_without_any_way_the_three_ways_are_named(small):
    with pytest.raises(DataError, match="fashion-mnist: found neither") as caught:
        read_fashion_mnist(None)
    for way in ("data.path", "dataset-fashion-mnist", "download"):
        assert way in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_refuses_is_told(small, monkeypatch):
    monkeypatch.setattr(source_module, "SERVERS", ("http://127.0.0.1:9/",))
    with pytest.raises(DataError, match=r"127.0.0.1:9/train-images.*: cannot be read: .*refused"):
        read_fashion_mnist(None)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        self.server.asked.append(self.path)


@pytest.fixture
def server(tmp_path):
    """A server on the loopback interface; what it was asked for is in `asked`."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        running.asked = []
        running.folder = folder
        running.url = f"http://127.0.0.1:{running.server_port}/"
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def served(small, server, monkeypatch):
    store(server.folder)
    monkeypatch.setattr(source_module, "SERVERS", ("http://127.0.0.1:9/", server.url))
    return server


def test_a_download_is_checked_kept_and_not_repeated(served, small):
    check_small(read_fashion_mnist(None))
    assert len(served.asked) == 4
    kept = cache_folder() / "fashion-mnist"
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == SMALL_CONTENTS
    check_small(read_fashion_mnist(None))
    assert len(served.asked) == 4


def test_a_server_that_lacks_a_file_is_told(served):
    (served.folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"t10k-labels.*: cannot be read: HTTP Error 404"):
        read_fashion_mnist(None)


def test_a_damaged_cache_is_downloaded_again(served):
    read_fashion_mnist(None)
    kept = cache_folder() / "fashion-mnist" / "train-images-idx3-ubyte"
    kept.write_bytes(kept.read_bytes()[:-1] + b"\0")
    check_small(read_fashion_mnist(None))
    assert len(served.asked) == 5
    assert kept.read_bytes() == SMALL_CONTENTS[kept.name]


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (gzip.compress(idx(ARRAY)), "found content with SHA-256"),
        (gzip.compress(SMALL_CONTENTS["train-images-idx3-ubyte"])[:-9], "cannot be read: "),
        (b"<html>log in first</html>", "cannot be read: Not a gzipped file"),
        (gzip.compress(bytes(10**6)), "found content of more than 196 bytes"),
        (os.urandom(10**6), "found more than"),
    ],
    ids=["other images", "truncated", "no gzip", "bomb", "too long"],
)
def test_another_answer_is_refused_and_not_kept(served, sent, message):
    (served.folder / "train-images-idx3-ubyte.gz").write_bytes(sent)
    with pytest.raises(DataError, match=message):
        read_fashion_mnist(None)
    assert not (cache_folder() / "fashion-mnist").exists()


def test_an_answer_that_stalls_is_given_up(monkeypatch, tmp_path):
    monkeypatch.setattr(download_module, "SILENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x.gz"
        with pytest.raises(DataError, match=r"x.gz: cannot be read: .*timed out"):
            download(url, tmp_path / "x", most=100, check=print)


def test_an_answer_that_trickles_is_given_up(server, monkeypatch, tmp_path):
    (server.folder / "x.gz").write_bytes(gzip.compress(CONTENT))
    monkeypatch.setattr(download_module, "DEADLINE", -1.0)
    with pytest.raises(DataError, match=r"x.gz: not all there after"):
        download(f"{server.url}x.gz", tmp_path / "x", most=100, check=print)
    assert not (tmp_path / "x").exists()


def test_a_cache_that_cannot_be_written_is_done_without(server, tmp_path):
    (server.folder / "x.gz").write_bytes(gzip.compress(CONTENT))
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "below" / "x"
    assert download(f"{server.url}x.gz", path, most=100, check=len) == CONTENT


def test_a_write_that_fails_leaves_nothing(server, tmp_path, monkeypatch):
    (server.folder / "x.gz").write_bytes(gzip.compress(CONTENT))

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert download(f"{server.url}x.gz", tmp_path / "kept" / "x", most=100, check=len) == CONTENT
    assert not list((tmp_path / "kept").iterdir())


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/caches", "HOME": "/srv/x"}, "/caches/certify"),
        ("linux", {"HOME": "/srv/x"}, "/srv/x/.cache/certify"),
        ("darwin", {"HOME": "/Users/x"}, "/Users/x/Library/Caches/certify"),
        ("win32", {"LOCALAPPDATA": "/Local"}, "/Local/certify"),
    ],
)
def test_the_cache_is_where_the_system_keeps_caches(monkeypatch, platform, variables, expected):
    monkeypatch.setattr(download_module.sys, "platform", platform)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(expected)


def test_the_real_images_are_the_published_ones():
    if not DEBIAN_FOLDER.is_dir():
        pytest.skip(f"Debian's package dataset-fashion-mnist is not installed in {DEBIAN_FOLDER}")
    data = load_data(DataSpec(source="fashion-mnist"), seed=0, folder=Path())
    assert data.input_shape == (1, 28, 28)
    assert (len(data.train), len(data.validation), len(data.test)) == (54_000, 6_000, 10_000)
    assert data.test.labels[:10].tolist() == [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]
    assert (data.test.indices == np.arange(10_000)).all()
    assert data.train.images.dtype == np.uint8
    assert (np.bincount(data.train.labels) == 5_400).all()


def test_the_pinned_sizes_are_those_of_the_files():
    assert [idx_size(file.shape) for pair in FILES.values() for file in pair] == [
        47_040_016,
        60_008,
        7_840_016,
        10_008,
    ]
