"""The two tables as arrays, checked: the only place where the voice reads columns.

Certified at ε means: the prediction is the label and the radius is greater than ε.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from models.errors import CertifyError
from models.tables import ATTACKS, CERTIFICATES


@dataclass(frozen=True)
class Examples:
    """The table of certificates, a place an example, in the order of the split."""

    label: np.ndarray
    prediction: np.ndarray
    rival: np.ndarray
    margin: np.ndarray
    radius: np.ndarray
    radius_float32: np.ndarray
    """NaN where there is none."""

    @property
    def correct(self) -> np.ndarray:
        """Where the prediction is the label."""
        return np.asarray(self.prediction == self.label)

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True)
class Attacked:
    """The rows of the attack table at one ε, by rising row of the table of certificates."""

    row: np.ndarray
    robust: np.ndarray
    claimed: np.ndarray
    distance: np.ndarray
    """L2 length of the change that broke it; 0 without a break."""
    left_alone: np.ndarray
    """No attack was spent on it at this ε."""
    left_out: np.ndarray
    """Rivals that targeted attacks did not aim at, being proven out of reach."""

    def kept(self, where: np.ndarray) -> "Attacked":
        """The rows of this table where `where` is true."""
        return Attacked(**{name: column[where] for name, column in vars(self).items()})


@dataclass(frozen=True)
class Fates:
    """What became of the attacked examples at one ε: every example is in one group."""

    certified: np.ndarray
    """Right, radius greater than ε, no break."""
    held: np.ndarray
    """Right, no attack broke it, and nothing is proven at this ε."""
    broken: np.ndarray
    """Right, and an attack changed the class within ε; nothing was promised."""
    wrong: np.ndarray
    """Wrong before any change."""
    refuted: np.ndarray
    """Broken inside the radius: one of these refutes the run."""


def read_certificates(table: pa.Table) -> Examples:
    """The table of certificates as arrays.

    Raises:
        CertifyError: If it is empty, lacks a column, or holds a radius that is none.
    """
    _refuse_missing_columns(table, CERTIFICATES, "certificates")
    if table.num_rows == 0:
        raise CertifyError("the table of certificates is empty; accepted is a row an example")
    columns = {name: table[name].to_numpy() for name in CERTIFICATES.names}
    radius = columns["radius"]
    if not (np.isfinite(radius).all() and (radius >= 0).all()):
        row = int(np.flatnonzero(~(np.isfinite(radius) & (radius >= 0)))[0])
        raise CertifyError(
            f"row {row} of the table of certificates has the radius {radius[row]}; "
            "accepted is a finite number that is not negative"
        )
    return Examples(
        label=columns["label"],
        prediction=columns["prediction"],
        rival=columns["rival"],
        margin=columns["margin"],
        radius=radius,
        radius_float32=columns["radius_float32"].astype(np.float64),
    )


def certified_at(examples: Examples, eps: float, *, column: str = "radius") -> np.ndarray:
    """Where the prediction is the label and the radius is greater than `eps`."""
    radius = getattr(examples, column)
    return np.asarray(examples.correct & (radius > eps))  # NaN > ε is false: not certified


def attacked_at(attacks: pa.Table, eps: float, *, examples: int) -> Attacked:
    """The attacked rows at exactly this `eps`, perhaps none.

    Raises:
        CertifyError: If a row is named twice, or is none of the table of certificates.
    """
    _refuse_missing_columns(attacks, ATTACKS, "attacks")
    columns = {
        name: attacks[name].to_numpy(zero_copy_only=False)
        for name in ("row", "eps", "robust", "claimed", "distance", "attacks", "left_out")
    }
    here = np.flatnonzero(columns["eps"] == eps)
    here = here[np.argsort(columns["row"][here], kind="stable")]
    row = columns["row"][here]
    if len(row) and not (row[0] >= 0 and row[-1] < examples):
        raise CertifyError(
            f"the attack table names the rows {row[0]} to {row[-1]} at ε {eps}; "
            f"accepted are the rows 0 to {examples - 1} of the table of certificates"
        )
    twice = row[1:][row[1:] == row[:-1]]
    if len(twice):
        raise CertifyError(f"the attack table names row {twice[0]} twice at ε {eps}")
    return Attacked(
        row=row,
        robust=columns["robust"][here].astype(bool),
        claimed=columns["claimed"][here].astype(bool),
        distance=columns["distance"][here],
        left_alone=columns["attacks"][here] == "",
        left_out=columns["left_out"][here],
    )


def attacked_everywhere(attacks: pa.Table, eps: Sequence[float], *, examples: int) -> np.ndarray:
    """Rows of the table of certificates that were attacked at every ε, rising."""
    at_each = (attacked_at(attacks, each, examples=examples).row for each in eps)
    return functools.reduce(np.intersect1d, at_each)


def fates_at(examples: Examples, attacked: Attacked, eps: float) -> Fates:
    """Sort the attacked examples by what was proven and what was found at `eps`."""
    correct = examples.correct[attacked.row]
    proven = certified_at(examples, eps)[attacked.row]
    broken = correct & ~attacked.robust
    inside = broken & (proven | (attacked.distance < examples.radius[attacked.row]))
    return Fates(
        certified=proven & attacked.robust,
        held=correct & ~proven & attacked.robust,
        broken=broken & ~inside,
        wrong=~correct,
        refuted=inside,
    )


def _refuse_missing_columns(table: pa.Table, schema: pa.Schema, what: str) -> None:
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise CertifyError(
            f"the table of {what} lacks {', '.join(missing)}; accepted are the columns "
            f"{', '.join(schema.names)}"
        )
