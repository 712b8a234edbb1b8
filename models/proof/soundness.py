"""Attack against certificate: the check that can prove this service wrong, never right.

A certificate claims that no step shorter than its radius changes the class.  One confirmed break
inside the radius refutes the Lipschitz bound, and with it every radius of the run.
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
        found: class that won.
    """

    attack_row: int
    row: int
    radius: float
    distance: float
    certified: int
    found: int

    def __str__(self) -> str:
        """One sentence for the user."""
        return (
            f"example {self.row} changed class from {self.certified} to {self.found} at distance "
            f"{self.distance:.6g}, inside its certified radius {self.radius:.6g}"
        )


def violations(certificates: pa.Table, attacks: pa.Table) -> list[Violation]:
    """Every confirmed break that lies inside a certified ball, the deepest one first.

    Args:
        certificates: a row an example.
        attacks: a row an attack, at an ε or at an example's own radius.

    Raises:
        SoundnessError: If an attack row speaks of no certified example.
    """
    rows = attacks["row"].to_numpy()
    if len(rows) and not 0 <= rows.min() <= rows.max() < len(certificates):
        raise SoundnessError(
            f"attacks speak of rows {rows.min()} to {rows.max()}; "
            f"certified are rows 0 to {len(certificates) - 1}"
        )
    radii = certificates["radius"].to_numpy()[rows]
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
        )
        for at in deepest_first
    ]
