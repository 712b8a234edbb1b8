"""What one run found, as the page takes it: tables first, every figure is derived from them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa


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

    @property
    def all_attacks(self) -> pa.Table:
        """Attacks inside each radius, then those at each ε."""
        return pa.concat_tables([self.radius_attacks, self.attacks])
