"""The smallest changes that were found, as arrays, checked, and the figures derived from them.

No change that leaves a class is shorter than the radius; radius over change is the tightness of a
certificate: at 1 the radius could not be larger, below it the rest is not known.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from models.errors import CertifyError
from models.tables import PERTURBATIONS, STRETCHES
from reports.rows import Attacked, Examples


@dataclass(frozen=True)
class Searched:
    """What was looked for beside attacks at an ε."""

    perturbations: pa.Table
    """Schema `models.tables.PERTURBATIONS`, a row an attacked example."""
    stretches: pa.Table
    """Schema `models.tables.STRETCHES`, a row a pair of classes."""
    masking: list[dict[str, Any]]
    """Signs that attacks were blind: `name`, `rings`, `found`."""


@dataclass(frozen=True)
class Changes:
    """The table of perturbations, a place an example that was searched."""

    row: np.ndarray
    correct: np.ndarray
    radius: np.ndarray
    radius_float32: np.ndarray
    """NaN where there is none."""
    distance: np.ndarray
    """Infinite where nothing was found."""
    distance_float32: np.ndarray
    """Where a float32 runtime left the class on the same way; infinite where it did not."""
    undecided: np.ndarray
    passes: np.ndarray
    """Through the program, at most."""

    @property
    def tightness(self) -> np.ndarray:
        """Radius over change, of those that have both."""
        both = (self.radius > 0) & np.isfinite(self.distance)
        return np.asarray(self.radius[both] / self.distance[both])


def read_changes(table: pa.Table, examples: Examples) -> Changes:
    """The table of perturbations as arrays.

    Raises:
        CertifyError: If a column is missing, or a row speaks of another example or radius than the
            table of certificates.
    """
    missing = [name for name in PERTURBATIONS.names if name not in table.column_names]
    if missing:
        raise CertifyError(f"the table of perturbations lacks {', '.join(missing)}")
    columns = {
        name: table[name].to_numpy(zero_copy_only=False)
        for name in PERTURBATIONS.names
        if not name.startswith("image")
    }
    row = columns["row"]
    same = len(row) == 0 or (row.min() >= 0 and row.max() < len(examples))
    if not same or (columns["radius"] != examples.radius[row]).any():
        raise CertifyError("the table of perturbations speaks of other radii than were certified")

    def distance(name: str) -> np.ndarray:
        return np.asarray(np.nan_to_num(columns[name].astype(np.float64), nan=np.inf))

    return Changes(
        row=row,
        correct=columns["label"] == columns["prediction"],
        radius=columns["radius"],
        radius_float32=columns["radius_float32"].astype(np.float64),
        distance=distance("distance"),
        distance_float32=distance("distance_float32"),
        undecided=columns["undecided"].astype(bool),
        passes=columns["passes"],
    )


def search_figures(
    searched: Searched, examples: Examples, attacked: list[Attacked], eps: tuple[float, ...]
) -> dict[str, Any]:
    """What summary.json says of the search.

    Returns:
        `examples` searched and `found`; `median_tightness` and `mean_tightness` (null without
        any); `robust_accuracy`, beside `eps`, of the attacked examples that neither attacks nor
        the search moved to a wrong answer; `float32_breaks`, changes that a float32 runtime makes
        of less than `radius` and no less than `radius_float32`; `undecided`; `passes`, through the
        program that one image took at most; `pair_bounds_seen`, the least and the largest share of
        a proven bound that was seen (null without bounds above 0); `masking`, names of the signs
        that ring.
    """
    changes = read_changes(searched.perturbations, examples)
    tightness = changes.tightness
    seen = shares_seen(searched.stretches)
    between = (changes.distance_float32 < changes.radius) & ~(
        changes.distance_float32 < changes.radius_float32
    )
    return {
        "examples": len(changes.row),
        "found": int(np.isfinite(changes.distance).sum()),
        "median_tightness": float(np.median(tightness)) if len(tightness) else None,
        "mean_tightness": float(tightness.mean()) if len(tightness) else None,
        "robust_accuracy": [
            float(robust_together(changes, at, each).mean()) if len(at.row) else None
            for each, at in zip(eps, attacked, strict=True)
        ],
        "float32_breaks": int(between.sum()),
        "undecided": int(changes.undecided.sum()),
        "passes": int(changes.passes.max(initial=0)),
        "pair_bounds_seen": [float(seen.min()), float(seen.max())] if len(seen) else None,
        "masking": [str(alarm["name"]) for alarm in searched.masking if alarm["rings"]],
    }


def robust_together(changes: Changes, attacked: Attacked, eps: float) -> np.ndarray:
    """Where neither the attacks at an ε nor the search moved an attacked example to a wrong one."""
    within = changes.row[changes.distance <= eps]
    return np.asarray(attacked.robust & ~np.isin(attacked.row, within))


def shares_seen(stretches: pa.Table) -> np.ndarray:
    """How much of each pair's proven bound was seen, of those that are above 0."""
    missing = [name for name in STRETCHES.names if name not in stretches.column_names]
    if missing:
        raise CertifyError(f"the table of stretches lacks {', '.join(missing)}")
    bound, seen = stretches["bound"].to_numpy(), stretches["seen"].to_numpy()
    usable = np.isfinite(bound) & (bound > 0)
    return np.asarray(seen[usable] / bound[usable])
