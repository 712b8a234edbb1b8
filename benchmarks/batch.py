"""Batch evaluation on two workers beside a plain loop over ONNX Runtime on one thread.

The loop reads the same Parquet files, decodes the same PNGs, runs the same graph at the same batch
size and keeps the same three outputs, in one process that has loaded everything; nothing of this
package does its work but the decoder.  The workers are those of a Ray that has started, as on a
cluster, and start cold: their time includes the start of their processes.
"""

import io
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from certify.jobs.job import check_job
from certify.submitting.inputs import read_inputs
from models.networks.onnx_export import export_onnx
from models.networks.training import finished_network, start_training
from models.onnx_session import onnx_session
from models.proof.bounds import prove
from models.proof.reading.reader import read_program
from models.splits import Split
from workers.answering import Answer, answering_graph
from workers.cluster import embedded_cluster
from workers.evaluating import answer_pieces
from workers.sources.streaming import batch_size
from workers.streamed_data import Streamed

SIDE = 28
IMAGES = 60_000
TIMES = 10
"""How many times as many rows the second evaluation has."""
DISTINCT = 2_000
GROUP = 1_000
WORKERS = 2
MODEL = {"architecture": "cnn"}


def run() -> None:
    """Print rates, their ratio, and the peak memory of a worker at both sizes."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_images(folder / "data", IMAGES // GROUP)
        (folder / "model.onnx").write_bytes(untrained())
        streamed, graph = opened(folder)
        loads = os.getloadavg()[0]
        begun, cpu = time.perf_counter(), time.process_time()
        radii = plain_loop(graph, folder / "data")
        plain, plain_cpu = time.perf_counter() - begun, time.process_time() - cpu
        print(f"load of the machine      {loads:8.1f}")
        print(f"plain loop, one thread   {IMAGES / plain:8.0f} images a second")
        print(f"its processor time       {plain_cpu:8.1f} s")
        job = check_job(keys(), place="benchmark")
        with embedded_cluster(job.resources):
            answers, seconds = timed(graph, streamed)
            print(f"{WORKERS} workers                {IMAGES / seconds:8.0f} images a second")
            print(f"their processor time     {sum(a.seconds for a in answers):8.1f} s")
            print(f"ratio of wall time       {plain / seconds:8.2f}")
            found = np.concatenate([radius_of(a) for a in answers])
            print(f"radii that differ        {int((found != radii).sum()):8d}")
            report("peak memory of a worker", answers)
            write_images(folder / "data", TIMES * IMAGES // GROUP)
            streamed, _ = opened(folder)
            answers, seconds = timed(graph, streamed)
            print(f"{TIMES} times the rows        {TIMES * IMAGES / seconds:8.0f} images a second")
            report("peak memory of a worker", answers)


def report(words: str, answers: list[Answer]) -> None:
    """The most memory that any worker held, and this process's own."""
    peak = max(answer.peak for answer in answers) / 2**20
    print(f"{words}  {peak:8.0f} MiB; of the driver {rss():.0f} MiB")


def rss() -> float:
    """Memory of this process in MiB."""
    return float(psutil.Process().memory_info().rss / 2**20)


def timed(graph: bytes, streamed: Streamed) -> tuple[list[Answer], float]:
    """All answers in order, and the seconds that they took."""
    pieces = streamed.stream.pieces(4096)
    begun = time.perf_counter()
    found = list(answer_pieces(graph, streamed, pieces, actors=WORKERS))
    return sorted(found, key=lambda answer: answer.number), time.perf_counter() - begun


def plain_loop(graph: bytes, folder: Path) -> np.ndarray:
    """What a user would write."""
    session = onnx_session(graph, optimised=False)
    size, radii = batch_size((1, SIDE, SIDE)), []
    for path in sorted(folder.iterdir()):
        for batch in pq.ParquetFile(path).iter_batches(size):
            images = [
                np.asarray(Image.open(io.BytesIO(row["bytes"])))
                for row in batch["image"].to_pylist()
            ]
            inputs = np.stack(images)[:, None].astype(np.float32) / np.float32(255)
            _, _, radius = session.run(["logits", "label", "radius_float32"], {"input": inputs})
            radii.append(radius)
    return np.concatenate(radii)


def write_images(folder: Path, groups: int) -> None:
    """Parquet of PNGs of blurred noise, a file to 20,000 rows; few are distinct, all are read."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (DISTINCT, 7, 7)).astype(np.uint8)
    pngs = []
    for pixels in coarse:
        buffer = io.BytesIO()
        Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(buffer, "PNG")
        pngs.append({"bytes": buffer.getvalue(), "path": None})
    tables = [
        pa.table({"image": pngs[:GROUP], "label": np.arange(GROUP) % 10}),
        pa.table({"image": pngs[GROUP:], "label": np.arange(GROUP) % 10}),
    ]
    for file in range(groups // 20):
        with pq.ParquetWriter(folder / f"{file:04}.parquet", tables[0].schema) as writer:
            for group in range(20):
                writer.write_table(tables[group % 2])


def untrained() -> bytes:
    """A small convolutional network, as it is before training."""
    job = check_job({"name": "cnn", "model": MODEL}, place="benchmark")
    rng = np.random.default_rng(0)
    images = rng.random((32, 1, SIDE, SIDE)).astype(np.float32)
    split = Split(images, np.arange(32) % 10, np.arange(32))
    state = start_training(job.model, job.train, split, classes=10, seed=0)
    network = finished_network(state, job.model, input_shape=(1, SIDE, SIDE), classes=10)
    return export_onnx(network, (1, SIDE, SIDE))


def keys() -> dict[str, object]:
    return {
        "name": "batch",
        "data": {"source": "parquet", "path": "data"},
        "model": {"architecture": "onnx", "path": "model.onnx"},
        "evaluate": {},
        "resources": {"workers": WORKERS, "cpus_per_worker": 1},
    }


def opened(folder: Path) -> tuple[Streamed, bytes]:
    """The data, and the graph that answers it."""
    _, _, foreign = read_inputs(check_job(keys(), place="benchmark"), folder)
    network = foreign.imported.network
    return foreign.streamed, answering_graph(network, prove(read_program(network)).to_json())


def radius_of(answer: Answer) -> np.ndarray:
    return pq.read_table(io.BytesIO(answer.table))["radius_float32"].to_numpy()
