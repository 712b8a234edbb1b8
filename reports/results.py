"""What one run found, as the page takes it: tables first, every figure is derived from them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reports.changes import Searched


@dataclass(frozen=True)
class Results:
    """The artefacts of a run, read back; nothing here names a file or a machine."""

    job: dict[str, Any]
    """The resolved job: name, seed, gates, data, model, train, certify, attack, resources."""
    classes: tuple[str, ...]
    """Names of the classes, in the order of the logits."""
    certificates: pa.Table
    """Schema `models.tables.CERTIFICATES`, a row a test example."""
    attacks: pa.Table
    """Schema `models.tables.ATTACKS`; rows may be missing where a run is incomplete."""
    radius_attacks: pa.Table
    """The same schema: attacks inside each example's own radius, which stands in `eps`."""
    bounds: dict[str, Any]
    """`lipschitz_bound`, `feature_bound`, `operators`, `pair_bounds`, `refused_float32`."""
    summary: dict[str, Any]
    """What `reports.summary.summarise` gave."""
    images: dict[int, np.ndarray]
    """Row of the table of certificates → channels × height × width, float32 in [0, 1]."""
    history: list[dict[str, Any]]
    """Metrics an epoch: `epoch`, `loss`, and where measured accuracies on validation images."""
    environment: dict[str, Any]
    """Versions and platform that the run was made with."""
    certificate: dict[str, Any]
    """The contents of certificate.json: hashes, bound, semantics."""

    searched: Searched | None = None
    """Smallest changes, stretched gaps and signs of masking, where they were looked for."""

    @property
    def all_breaks(self) -> pa.Table:
        """All that moved an image to another class, as `breaks_of` gives it."""
        return breaks_of(self.radius_attacks, self.attacks, self.searched)


def breaks_of(
    radius_attacks: pa.Table, attacks: pa.Table, searched: Searched | None = None
) -> pa.Table:
    """Attacks inside each radius, those at each ε, and the smallest changes, with a null ε."""
    columns = ["row", "eps", "prediction", "distance", "attacked", "correct", "robust"]
    tables = [radius_attacks.select(columns), attacks.select(columns)]
    if searched is not None:
        found = searched.perturbations
        found = found.filter(found["image"].is_valid())
        moved = {
            "row": found["row"],
            "eps": pa.nulls(len(found), pa.float64()),
            "prediction": found["found"],
            "distance": found["distance"],
            "attacked": found["image"],
            "correct": pc.equal(found["label"], found["prediction"]),
            "robust": pa.repeat(pa.scalar(value=False), len(found)),
        }
        tables.append(pa.table(moved))
    return pa.concat_tables(
        [
            table.cast(pa.schema([field.with_nullable(True) for field in table.schema]))
            for table in tables
        ]
    )
