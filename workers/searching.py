"""Look for the smallest change of each attacked example, in shards, one task to a shard.

Shard and seed decide the answer, so neither the number of workers nor a dead one changes a row.
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from models.splits import Split
from models.tables import PERTURBATIONS
from workers.certification import program_of
from workers.shards import Call, as_completed
from workers.tasks import remote, share, threads

OTHERS = "attack"
"""Who found what a search is given to begin at."""


@dataclass(frozen=True)
class Part:
    """Some rows of the table of certificates, searched together."""

    number: int
    rows: np.ndarray

    @property
    def name(self) -> str:
        """A name for its artefact, the same in every run of the job."""
        return f"{self.number:05d}"


def parts_of(rows: np.ndarray, *, size: int) -> list[Part]:
    """Rows in parts of a fixed size."""
    starts = range(0, len(rows), size)
    return [Part(number, rows[start : start + size]) for number, start in enumerate(starts)]


def search_parts(
    model: bytes,
    bounds: dict[str, Any],
    split: Split,
    certificates: pa.Table,
    attacks: pa.Table,
    parts: list[Part],
    *,
    seed: int,
    device: str,
) -> Iterator[tuple[Part, pa.Table]]:
    """Search parts, each with its rows of the table of perturbations, as they are done.

    Args:
        model: the ONNX file that was certified.
        bounds: what was proved of it.
        split: the certified split.
        certificates: a row an example of it.
        attacks: what attacks found; the nearest of each example is a place to begin.
        parts: what is left to do.
        seed: of the job.
        device: where to compute, as torch names it.
    """
    gpus, shared = device != "cpu", (share(model), share(bounds))
    task = remote(search_part, gpus=gpus)
    nearest = nearest_attacked(certificates, attacks)

    def call(part: Part) -> Call:
        found = [nearest.get(row) for row in part.rows.tolist()]
        rows, examples = certificates.take(part.rows), split.take(part.rows)
        return functools.partial(task.remote, *shared, examples, rows, found, part, seed, device)

    for place, table in as_completed(map(call, parts), gpus=gpus):
        yield parts[place], table


def nearest_attacked(certificates: pa.Table, attacks: pa.Table) -> dict[int, bytes]:
    """The nearest attacked image of each row that has another class than the certified one."""
    broken = attacks.filter(attacks["attacked"].is_valid())
    certified = certificates["prediction"].to_numpy()
    nearest: dict[int, tuple[float, bytes]] = {}
    for found in broken.select(["row", "prediction", "distance", "attacked"]).to_pylist():
        row, distance = found["row"], found["distance"]
        known = nearest.get(row)
        if found["prediction"] != certified[row] and (known is None or distance < known[0]):
            nearest[row] = distance, found["attacked"]
    return {row: image for row, (_, image) in nearest.items()}


def search_part(
    model: bytes,
    bounds: dict[str, Any],
    examples: Split,
    certificates: pa.Table,
    found: list[bytes | None],
    part: Part,
    seed: int,
    device: str,
) -> pa.Table:
    """The smallest changes of some examples, rechecked in float64 and in ONNX Runtime."""
    from models.attacks.autoattack import shard_seed
    from models.attacks.boundary import Segments, edge_breaks, nearest_breaks
    from models.attacks.minimum_norm import smallest_changes
    from models.attacks.runtime_breaks import nearest_runtime_breaks
    from models.proof.bounds import Bounds

    threads(1)
    program, proved, inputs = program_of(model), Bounds.from_json(bounds), examples.inputs()
    predictions, radii = (certificates[name].to_numpy() for name in ("prediction", "radius"))
    closest = smallest_changes(
        program,
        inputs,
        predictions,
        seed=shard_seed(seed, eps=math.inf, shard=part.number),
        finds={OTHERS: _images(found, inputs)},
        device=device,
    )
    breaks = nearest_breaks(program, proved, Segments(inputs, closest.images, predictions))
    edge = edge_breaks(program, proved, Segments(inputs, breaks.images, predictions), radii)
    undecided = edge.undecided & breaks.confirmed
    breaks = breaks.or_nearer(edge)
    segments = Segments(inputs, breaks.images, predictions)
    in_runtime = nearest_runtime_breaks(model, segments)
    there = breaks.confirmed
    radii_float32 = certificates["radius_float32"].to_numpy().astype(np.float64)
    refuting = there & (in_runtime.distances < radii_float32)  # NaN: nothing is claimed
    across = there & (in_runtime.found >= 0)
    return pa.table(
        {
            "row": part.rows,
            "label": certificates["label"],
            "prediction": certificates["prediction"],
            "radius": certificates["radius"],
            "radius_float32": certificates["radius_float32"],
            "distance": pa.array(breaks.distances, mask=~there),
            "found": pa.array(breaks.predictions.astype(np.int32), mask=~there),
            "found_by": np.where(there, closest.found_by, "").tolist(),
            "passes": np.full(len(inputs), closest.passes, dtype=np.int32),
            "undecided": undecided,
            "distance_float32": pa.array(in_runtime.distances, mask=~across),
            "found_float32": pa.array(in_runtime.found.astype(np.int32), mask=~across),
            "image": _stored(breaks.images, there),
            "image_float32": _stored(in_runtime.images, refuting),
        },
        schema=PERTURBATIONS,
    )


def _images(found: list[bytes | None], inputs: np.ndarray) -> np.ndarray:
    """Attacked images in the shape of their originals, which stand where there is none."""
    images = inputs.copy()
    for place, stored in enumerate(found):
        if stored is not None:
            images[place] = np.frombuffer(stored, dtype="<f4").reshape(inputs.shape[1:])
    return images


def _stored(images: np.ndarray, kept: np.ndarray) -> list[bytes | None]:
    return [image.tobytes() if keep else None for image, keep in zip(images, kept, strict=True)]
