"""Stretch the gap of every two classes by pairs of inputs, in one task: it takes seconds."""

from typing import Any

import numpy as np
import pyarrow as pa

from models.splits import Split
from models.tables import STRETCHES
from workers.certification import program_of
from workers.tasks import remote, result, threads


def stretch_pairs(
    model: bytes, bounds: dict[str, Any], examples: Split, searched: pa.Table, *, seed: int
) -> pa.Table:
    """The table of stretches: two classes a row, what is proven of them and what was seen.

    Args:
        model: the ONNX file that was certified.
        bounds: what was proved of it.
        examples: those that were searched.
        searched: their rows of the table of perturbations.
        seed: of the random starts.
    """
    return result(remote(_stretch).remote(model, bounds, examples, searched, seed))


def _stretch(
    model: bytes, bounds: dict[str, Any], examples: Split, searched: pa.Table, seed: int
) -> pa.Table:
    from models.attacks.stretch_starts import affordable_steps, pair_starts
    from models.proof.bounds import Bounds
    from models.proof.stretch import steepest

    threads(1)
    program, proved, inputs = program_of(model), Bounds.from_json(bounds), examples.inputs()
    predictions = searched["prediction"].to_numpy()
    found, finds = predictions.copy(), inputs.copy()
    columns = (searched["found"].to_pylist(), searched["image"].to_pylist())
    for place, (label, image) in enumerate(zip(*columns, strict=True)):
        if image is not None:
            found[place] = label
            finds[place] = np.frombuffer(image, dtype="<f4").reshape(inputs.shape[1:])
    starts = pair_starts(inputs, predictions, finds, found, classes=program.classes, seed=seed)
    steps = affordable_steps(program, len(starts.one))
    stretched = steepest(program, proved, starts, steps=steps)
    one, other = np.triu_indices(program.classes, k=1)
    return pa.table(
        {
            "one": one.astype(np.int32),
            "other": other.astype(np.int32),
            "bound": proved.pair_bounds[one, other],
            "seen": stretched.seen[one, other],
            "inputs": [
                np.stack(stretched.inputs).ravel().tolist() if pair == stretched.classes else None
                for pair in zip(one.tolist(), other.tolist(), strict=True)
            ],
        },
        schema=STRETCHES,
    )
