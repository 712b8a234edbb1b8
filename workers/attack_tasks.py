"""What one worker does to one shard: attack it, and recheck every claim where it is made."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from models.splits import Split
from models.tables import ATTACKS
from workers.certification import program_of
from workers.tasks import threads

OWN_RADIUS = "margin ascent at the radius"


@dataclass(frozen=True)
class Shard:
    """Some examples to attack together.

    Attributes:
        number: place among the shards of its kind.
        rows: rows of the examples in the table of certificates.
        eps: L2 budget, in input units; None attacks each example inside its own radius.
    """

    number: int
    rows: np.ndarray
    eps: float | None

    @property
    def name(self) -> str:
        """A name for its artefact, the same in every run of the job."""
        return f"{'radius' if self.eps is None else self.eps.hex()}-{self.number:05d}"


def attack_at_eps(
    model: bytes, bounds: dict[str, Any], examples: Split, shard: Shard, seed: int, device: str
) -> pa.Table:
    """AutoAttack on a shard, against the true labels."""
    from models.attacks.autoattack import attack_examples, attack_names, shard_seed
    from models.proof.program import logits_in_float64

    threads(1)
    program, inputs = program_of(model), examples.inputs()
    eps = float(shard.eps or 0)
    attacked = attack_examples(
        program,
        inputs,
        examples.labels,
        eps=eps,
        seed=shard_seed(seed, eps=eps, shard=shard.number),
        device=device,
    )
    correct = logits_in_float64(program, inputs).argmax(axis=1) == examples.labels
    found = _Attacked(
        names=", ".join(attack_names(program)),
        inputs=inputs,
        images=attacked,
        kept=examples.labels,
        counted=correct,
        budgets=np.full(len(inputs), eps),
    )
    return _judged(model, bounds, shard, found, correct=correct)


def attack_at_radius(
    model: bytes,
    bounds: dict[str, Any],
    examples: Split,
    certified: tuple[np.ndarray, np.ndarray],
    shard: Shard,
    seed: int,
    device: str,
) -> pa.Table:
    """Gradient ascent inside each example's own radius, against the certified classes."""
    from models.attacks.autoattack import shard_seed
    from models.attacks.radius_attack import attack_radii

    threads(1)
    program, inputs = program_of(model), examples.inputs()
    predictions, radii = certified
    inside = np.nextafter(radii, 0)  # the ball is open
    finds = attack_radii(
        program,
        inputs,
        predictions,
        inside,
        seed=shard_seed(seed, eps=0.0, shard=shard.number),
        device=device,
    )
    claims = (finds.gaps > 0).reshape(-1, *[1] * (inputs.ndim - 1))
    found = _Attacked(
        names=OWN_RADIUS,
        inputs=inputs,
        images=np.where(claims, finds.images, inputs),
        kept=predictions,
        counted=np.ones(len(inputs), dtype=bool),
        budgets=inside,
    )
    return _judged(model, bounds, shard, found, correct=predictions == examples.labels)


@dataclass(frozen=True)
class _Attacked:
    """What an attack was asked and gave, for each example of a shard.

    Attributes:
        names: of the attacks that ran.
        inputs: the originals.
        images: what the attack made of them, the originals where it claims nothing.
        kept: classes that should have stayed.
        counted: where a break counts.
        budgets: L2, in input units.
    """

    names: str
    inputs: np.ndarray
    images: np.ndarray
    kept: np.ndarray
    counted: np.ndarray
    budgets: np.ndarray


def _judged(
    model: bytes, bounds: dict[str, Any], shard: Shard, found: _Attacked, *, correct: np.ndarray
) -> pa.Table:
    """Rows of the table of attacks, every claim rechecked."""
    from models.attacks.recheck import recheck
    from models.proof.bounds import Bounds

    claimed = (found.images != found.inputs).reshape(len(correct), -1).any(axis=1)
    breaks = recheck(
        program_of(model),
        Bounds.from_json(bounds),
        originals=found.inputs,
        attacked=found.images,
        labels=found.kept,
        eps=found.budgets,
    )
    broken = claimed & found.counted & breaks.confirmed
    return pa.table(
        {
            "row": shard.rows,
            "eps": found.budgets,
            "attacks": [found.names] * len(correct),
            "correct": correct,
            "robust": correct & ~broken,
            "claimed": claimed,
            "prediction": np.where(broken, breaks.predictions, found.kept).astype(np.int32),
            "distance": np.where(broken, breaks.distances, 0.0),
            "gap": np.where(broken, breaks.gaps, 0.0),
            "attacked": [
                image.tobytes() if is_broken else None
                for image, is_broken in zip(breaks.images, broken, strict=True)
            ],
        },
        schema=ATTACKS,
    )
