"""What one worker does to one piece of a stream: a class and a proven radius to each image.

The radius is the output `radius_float32` of a graph that was sealed here, from bounds that were
proved here; what the model's file itself claims is not read.  It is proven for every image, but of
a runtime that computes operator by operator as the file says: so the graph is not optimised.
"""

import functools
import hashlib
import io
import resource
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models import errors
from models.errors import CertifyError, ModelError
from models.splits import unit_pixels
from models.tables import ANSWERS
from workers.sources.stream import Piece
from workers.sources.streaming import Batch
from workers.streamed_data import Streamed


@dataclass(frozen=True)
class Answer:
    """What came of a piece.

    Attributes:
        number: of the piece.
        rows: how many images it has.
        table: its rows of `ANSWERS` as a Parquet file; the same bytes from every worker.
        seconds: of the worker's processor.
        peak: most bytes of memory that the worker has held.
    """

    number: int
    rows: int
    table: bytes
    seconds: float
    peak: int


def answering_graph(network: bytes, bounds: dict[str, Any]) -> bytes:
    """The network with label and proven radius as outputs.

    Args:
        network: the ONNX file that was bounded.
        bounds: what was proved of it.

    Raises:
        ModelError: If an operator's rounding is not covered: no radius is then proven of what a
            float32 runtime computes.
    """
    from models.proof.bounds import Bounds
    from models.proof.sealed_graph import seal_graph

    proved = Bounds.from_json(bounds)
    if proved.float32 is None:
        raise ModelError(
            f"no radius is proven of what a float32 runtime computes: {proved.refused_float32}; "
            "certify evaluate without --batch certifies in float64"
        )
    return seal_graph(network, proved, slack=0.0, metadata={})


def answer_piece(graph: bytes, streamed: Streamed, piece: Piece) -> Answer:
    """Answer a piece, a batch at a time.

    Raises:
        DataError: For the first image that cannot be accepted, with file and row.
    """
    begun = time.process_time()
    session = _session(hashlib.sha256(graph).hexdigest(), graph)
    tables = []
    first = piece.first
    for batch in streamed.batches(piece):
        tables.append(_answered(session, batch, first=first))
        first += len(batch.rows)
    buffer = io.BytesIO()
    pq.write_table(pa.concat_tables(tables).combine_chunks(), buffer)
    seconds = time.process_time() - begun
    return Answer(piece.number, first - piece.first, buffer.getvalue(), seconds, _peak_bytes())


def told_fault(fault: CertifyError) -> tuple[str, str]:
    """A refusal as plain words, which survive any way between two processes."""
    return type(fault).__name__, str(fault)


def fault_of(kind: str, message: str) -> CertifyError:
    """The refusal that those words tell."""
    found: CertifyError = getattr(errors, kind, CertifyError)(message)
    return found


def _answered(session: Any, batch: Batch, *, first: int) -> pa.Table:
    inputs = {session.get_inputs()[0].name: unit_pixels(batch.images)}
    logits, label, radius = session.run(["logits", "label", "radius_float32"], inputs)
    best = np.sort(logits, axis=1)[:, -2:]
    labels: Any = pa.nulls(len(label), pa.int32())
    if batch.labels is not None:
        labels = batch.labels.astype(np.int32)
    return pa.table(
        {
            "index": np.arange(first, first + len(label)),
            "file": batch.files,
            "row": batch.rows,
            "label": labels,
            "prediction": label.astype(np.int32),
            "margin": best[:, 1] - best[:, 0],
            "radius_float32": radius,
        },
        schema=ANSWERS,
    )


@functools.lru_cache(maxsize=1)
def _session(sha256: str, graph: bytes) -> Any:  # noqa: ARG001 (the hash is the quick key)
    from models.onnx_session import onnx_session

    return onnx_session(graph, optimised=False)


def _peak_bytes() -> int:
    """Most memory that this process has held: Linux counts in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) * (1 if sys.platform == "darwin" else 1024)
