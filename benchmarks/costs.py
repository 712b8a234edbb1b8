"""What a shard costs, stage by stage: bytes in, bytes out, processor time; and the driver's share.

These are the numbers that `docs/scaling.md` reckons with.  Time is processor time of one thread.
"""

import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.trained import Trained, fashion_mnist
from certify.runs.run_dir import RunDir
from models.attacks.suite import attack_names
from models.spec import ResourcesSpec
from workers.answering import answer_piece, answering_graph
from workers.attack_tasks import Shard, attack_at_eps, attack_at_radius
from workers.attacking import attacked_rows, worth_attacking
from workers.certification import _certify_shard
from workers.cluster import embedded_cluster
from workers.shards import as_completed
from workers.sources.encoded_images import decode_image, kind_of
from workers.sources.stream import Piece, list_parquet
from workers.storage.disk import Disk
from workers.streamed_data import Streamed
from workers.tasks import remote

EPS = 0.5
TASKS = 300
SIDE = 224
DECODED = 200
PIECE = 4096


def run() -> None:
    """Print a line a stage, then what the driver does for each of its tasks."""
    trained = fashion_mnist()
    shared = size_of((trained.model, trained.bounds))
    print(f"model and bounds, once to a machine  {shared / 1e6:8.2f} MB")
    print("stage          rows   bytes in  bytes out    seconds   rows a second")
    certify(trained)
    attack(trained)
    evaluate(trained)
    decoding()
    driver()


def certify(trained: Trained) -> None:
    size = trained.job.certify.shard_size
    shard = trained.dataset.test.take(slice(0, size))
    line("certify", size, size_of(shard), lambda: _certify_shard(*proved(trained), shard))


def attack(trained: Trained) -> None:
    size, seed = trained.job.attack.shard_size, trained.job.seed
    table = trained.certificates
    rows = attacked_rows(len(table), wanted=500, seed=seed)
    chosen = worth_attacking(table, rows, eps=EPS, audit=0.05, seed=seed)[:size]
    examples = trained.dataset.test.take(chosen)
    for name in attack_names(len(trained.dataset.classes), trained.dataset.input_shape):
        shard = Shard(0, chosen, EPS, name)
        task = (*proved(trained), examples, chosen, shard, seed, "cpu")
        line(
            name, len(chosen), size_of((examples, chosen, shard)), lambda t=task: attack_at_eps(*t)
        )
    shard = Shard(0, rows[:size], None)
    examples = trained.dataset.test.take(rows[:size])
    certified = tuple(table[name].to_numpy()[rows[:size]] for name in ("prediction", "radius"))
    task = (*proved(trained), examples, certified, shard, seed, "cpu")
    line("own radius", size, size_of((examples, certified, shard)), lambda: attack_at_radius(*task))


def evaluate(trained: Trained) -> None:
    """A piece of Parquet: what goes in is its number, what comes out its rows."""
    images = trained.dataset.train.images[:PIECE]
    with tempfile.TemporaryDirectory() as made:
        rows = [{"bytes": png(image), "path": None} for image in images]
        labels = trained.dataset.train.labels[:PIECE]
        pq.write_table(pa.table({"image": rows, "label": labels}), Path(made) / "x.parquet")
        stream = list_parquet(Disk(Path(made)), label_column=None)
        kind = kind_of(images[0], name="x")
        streamed = Streamed(stream, kind, trained.dataset, np.arange(10))
        graph = answering_graph(*proved(trained))
        (piece,) = stream.pieces(PIECE)
        answer_piece(graph, streamed, Piece(0, 0, piece.files, 0, 10))  # loads the runtime
        line(
            "evaluate", PIECE, size_of({"number": 0}), lambda: answer_piece(graph, streamed, piece)
        )
        print(f"{'':12}  its piece has {stream.files[0][1] / PIECE:.0f} bytes an image on the disk")


def decoding() -> None:
    """One JPEG of ImageNet's usual size: the part of its cost that no GPU takes away."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (28, 28, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(buffer, "JPEG")
    content = buffer.getvalue()
    line("decode 224²", DECODED, DECODED * len(content), lambda: decode_all(content))


def decode_all(content: bytes) -> None:
    for _ in range(DECODED):
        decode_image(content, name="x")


def driver() -> None:
    """The one process that hands out tasks and writes artefacts, at the sizes of an attack."""
    answer = b"x" * 10_000
    with tempfile.TemporaryDirectory() as made, embedded_cluster(ResourcesSpec(workers=2)):
        run_dir = RunDir(Path(made), "costs")
        run_dir.create()
        task = remote(echo)
        list(as_completed([lambda: task.remote(answer)] * 10))
        begun, cpu = time.perf_counter(), time.process_time()
        for place, found in as_completed([lambda: task.remote(answer)] * TASKS):
            run_dir.write(f"shards/{place}", found)
        wall, busy = time.perf_counter() - begun, time.process_time() - cpu
    print(f"driver, a task with its artefact     {1e3 * busy / TASKS:8.2f} ms of processor")
    print(f"                                     {1e3 * wall / TASKS:8.2f} ms, fsync included")


def echo(answer: bytes) -> bytes:
    return answer


def proved(trained: Trained) -> tuple[bytes, dict[str, Any]]:
    return trained.model, trained.bounds


def line(name: str, rows: int, taken: int, work: Callable[[], Any]) -> None:
    """Do a shard's work and print what it took and gave."""
    begun = time.process_time()
    found = work()
    seconds = time.process_time() - begun
    given = size_of(found)
    print(f"{name:12} {rows:6} {taken:10} {given:10} {seconds:10.3f} {rows / seconds:12.1f}")


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image[0]).save(buffer, "PNG")
    return buffer.getvalue()


def size_of(value: Any) -> int:
    """Bytes that a value has on its way to another process."""
    return len(cloudpickle.dumps(value))
