"""A synthetic run in which smallest changes, stretched pairs and signs of masking were sought."""

import dataclasses

import pyarrow as pa
import report_cases

from models.tables import PERTURBATIONS, STRETCHES
from reports.changes import Searched
from reports.rows import read_certificates
from reports.summary import summarise

ALARMS = [
    {"name": "zero_gradients", "rings": True, "found": "the gradient is exactly 0 at 2 images"},
    {"name": "passes_differ", "rings": False, "found": "two passes gave other logits at 0 images"},
]  # fmt: skip


def searched_results(factor=1.25, *, seen=0.9):
    """The digits run, every attacked image with a change of so many radii."""
    results = report_cases.digits_results()
    examples = read_certificates(results.certificates)
    rows = sorted(set(results.attacks["row"].to_pylist()))
    found = [
        {
            "row": row,
            "label": int(examples.label[row]),
            "prediction": int(examples.prediction[row]),
            "radius": float(examples.radius[row]),
            "radius_float32": float(examples.radius_float32[row]),
            "distance": factor * float(examples.radius[row]),
            "found": int(examples.rival[row]),
            "found_by": "ddn",
            "undecided": row == rows[0],
            "passes": 845,
            "distance_float32": (0.999 if row == rows[1] else factor) * examples.radius[row],
            "found_float32": int(examples.rival[row]),
            "image": None,
            "image_float32": None,
        }
        for row in rows
    ]
    pair = {"one": 0, "other": 1, "bound": 2.0, "seen": 2 * seen, "inputs": None}
    searched = Searched(
        pa.Table.from_pylist(found, schema=PERTURBATIONS),
        pa.Table.from_pylist([pair], schema=STRETCHES),
        ALARMS,
    )
    kept = ("run", "verdict", "lipschitz_bound", "violations", "seconds", "gates")
    summary = summarise(
        certificates=results.certificates,
        attacks=results.attacks,
        radius_attacks=results.radius_attacks,
        eps=tuple(results.summary["eps"]),
        searched=searched,
        **{key: results.summary[key] for key in kept},
    )
    return dataclasses.replace(results, searched=searched, summary=summary)
