"""Attack against certificate: the check that can prove this service wrong, never right.

A certificate claims that no step shorter than its radius changes the class.  One confirmed break
inside the radius refutes the Lipschitz bound, and with it every radius of the run.  So does a pair
of inputs between which the gap of two classes moves by more than its bound allows.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from models.errors import SoundnessError


@dataclass(frozen=True)
class Violation:
    """A confirmed break inside a certified ball.

    Attributes:
        attack_row: row in the table of attacks.
        row: row in the table of certificates.
        radius: what was certified, in input units.
        distance: of the break, rounded up, in input units.
        certified: class that should have been kept.
        found: class that won, or reached a tie in float32.
        semantics: the column that claimed the radius: `radius` or `radius_float32`.
    """

    attack_row: int
    row: int
    radius: float
    distance: float
    certified: int
    found: int
    semantics: str = "radius"

    def __str__(self) -> str:
        """One sentence for the user."""
        kind = "" if self.semantics == "radius" else "float32 "
        return (
            f"example {self.row} changed class from {self.certified} to {self.found} at distance "
            f"{self.distance:.6g}, inside its certified {kind}radius {self.radius:.6g}"
        )


@dataclass(frozen=True)
class Exceeded:
    """Two inputs between which the gap of two classes moves by more than its bound.

    Attributes:
        stretch_row: row in the table of stretches.
        one: a class.
        other: another.
        seen: what was seen, rounded down, in logits per unit of input.
        bound: what was proven.
    """

    stretch_row: int
    one: int
    other: int
    seen: float
    bound: float

    def __str__(self) -> str:
        """One sentence for the user."""
        return (
            f"the gap of classes {self.one} and {self.other} is seen to move by {self.seen:.6g} "
            f"per unit of input, beyond its certified bound {self.bound:.6g}"
        )


def exceeded(stretches: pa.Table) -> list[Exceeded]:
    """Every pair of classes that was seen to move beyond its bound, the one with inputs first."""
    rows = stretches.to_pylist()
    found = [
        Exceeded(at, row["one"], row["other"], row["seen"], row["bound"])
        for at, row in enumerate(rows)
        if not row["seen"] <= row["bound"]
    ]
    return sorted(found, key=lambda each: rows[each.stretch_row]["inputs"] is None)


def violations(
    certificates: pa.Table, attacks: pa.Table, *, semantics: str = "radius"
) -> list[Violation]:
    """Every confirmed break that lies inside a certified ball, the deepest one first.

    Args:
        certificates: a row an example.
        attacks: a row an attack, at an ε or at an example's own radius.
        semantics: the column that claims the radius.

    Raises:
        SoundnessError: If an attack row speaks of no certified example.
    """
    rows = attacks["row"].to_numpy()
    if len(rows) and not 0 <= rows.min() <= rows.max() < len(certificates):
        raise SoundnessError(
            f"attacks speak of rows {rows.min()} to {rows.max()}; "
            f"certified are rows 0 to {len(certificates) - 1}"
        )
    radii = certificates[semantics].to_numpy().astype(np.float64)[rows]  # NaN: nothing is claimed
    certified = certificates["prediction"].to_numpy()[rows]
    found = attacks["prediction"].to_numpy()
    distances = attacks["distance"].to_numpy()
    broken = attacks["attacked"].is_valid().to_numpy() & (found != certified)
    refuting = np.flatnonzero(broken & (distances < radii))
    deepest_first = refuting[np.argsort(distances[refuting] / radii[refuting], kind="stable")]
    return [
        Violation(
            attack_row=int(at),
            row=int(rows[at]),
            radius=float(radii[at]),
            distance=float(distances[at]),
            certified=int(certified[at]),
            found=int(found[at]),
            semantics=semantics,
        )
        for at in deepest_first
    ]
