"""The stage of a batch evaluation: a file of rows to a piece of the data, and what they add up to.

A file that is there is whole, and its piece is never answered again.
"""

import hashlib
import io
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from certify.runs.run import Run
from certify.stages.proving import BOUNDS, IMPORT, NETWORK
from models.certificate_format import DOMAIN, NORM, SEMANTICS
from models.errors import CertifyError
from workers.answering import Answer, answering_graph
from workers.cluster import all_cpus
from workers.evaluating import answer_pieces
from workers.sources.stream import Piece

EVALUATION = "evaluation.json"
COSTS = "costs.json"
"""What each file of rows cost that the last attempt made; no part of the result."""


def evaluate(run: Run) -> None:
    """A class, a margin and a proven radius to each image, in files of rows."""
    if run.foreign is None or run.foreign.streamed is None or run.job.evaluate is None:
        raise CertifyError("the job is no batch evaluation")
    streamed = run.foreign.streamed
    pieces = streamed.stream.pieces(run.job.evaluate.shard_size)
    graph = answering_graph(run.dir.read(NETWORK), run.dir.read_json(BOUNDS))
    finished = [piece for piece in pieces if run.dir.has(rows_file(piece))]
    left = sorted({*pieces} - {*finished}, key=lambda piece: piece.number)
    with run.follow("evaluate", total=len(streamed), unit="images") as progress:
        progress.advance(sum(piece.rows for piece in finished))
        actors = all_cpus(run.job.resources)
        costs = []
        for answer in answer_pieces(graph, streamed, left, actors=actors):
            run.dir.write(rows_file(pieces[answer.number]), answer.table)
            costs.append(_cost(answer))
            progress.advance(answer.rows)
    run.dir.write_json(COSTS, costs)
    run.dir.write_json(EVALUATION, _summary(run, pieces))


def rows_file(piece: Piece) -> str:
    """The artefact that holds a piece's rows."""
    return f"rows/{piece.number:06d}.parquet"


def _cost(answer: Answer) -> dict[str, Any]:
    return {
        "number": answer.number,
        "rows": answer.rows,
        "seconds": round(answer.seconds, 3),
        "bytes_written": len(answer.table),
        "peak_memory": answer.peak,
    }


def _summary(run: Run, pieces: list[Piece]) -> dict[str, Any]:
    """Counts of all rows, and the hash of each file of them."""
    files, labelled, correct = [], 0, 0
    for piece in pieces:
        content = run.dir.read(rows_file(piece))
        table = pq.read_table(io.BytesIO(content), columns=["label", "prediction"])
        known = table.filter(table["label"].is_valid())
        labelled += len(known)
        correct += int(np.sum(known["label"].to_numpy() == known["prediction"].to_numpy()))
        digest = hashlib.sha256(content).hexdigest()
        files.append({"file": rows_file(piece), "rows": len(table), "sha256": digest})
    bounds, imported = run.dir.read_json(BOUNDS), run.dir.read_json(IMPORT)
    return {
        "verdict": None,
        "run": run.dir.run,
        "rows": sum(file["rows"] for file in files),
        "labelled": labelled,
        "correct": correct,
        "source_sha256": imported["sha256"],
        "left_out": imported["left_out"],
        "network_sha256": hashlib.sha256(run.dir.read(NETWORK)).hexdigest(),
        "program_sha256": bounds["program_sha256"],
        "bounds_sha256": hashlib.sha256(run.dir.read(BOUNDS)).hexdigest(),
        "lipschitz_bound": bounds["lipschitz_bound"],
        "norm": NORM,
        "domain": DOMAIN,
        "radius_float32": SEMANTICS["radius_float32"],
        "files": files,
    }
