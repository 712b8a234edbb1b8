"""What one worker does to one shard: attack it, and recheck every claim where it is made."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from models.attacks.suite import TARGETED
from models.splits import Split
from models.tables import ATTACKS
from workers.certification import program_of
from workers.tasks import threads

OWN_RADIUS = "margin ascent at the radius"


@dataclass(frozen=True)
class Shard:
    """Some examples to attack together, by one attack.

    Attributes:
        number: place among the shards of its kind.
        rows: rows of the examples in the table of certificates.
        eps: L2 budget, in input units; None attacks each example inside its own radius.
        attack: name of the attack; at an ε it meets what the earlier ones left of the shard.
        aimed: whether targeted attacks leave out rivals that are proven out of reach.
    """

    number: int
    rows: np.ndarray
    eps: float | None
    attack: str = OWN_RADIUS
    aimed: bool = False

    @property
    def name(self) -> str:
        """A name for its artefact, the same in every run of the job."""
        kind = "radius" if self.eps is None else f"{self.eps.hex()}-{self.attack}"
        return f"{kind}-{self.number:05d}"


def attack_at_eps(
    model: bytes,
    bounds: dict[str, Any],
    examples: Split,
    rows: np.ndarray,
    shard: Shard,
    seed: int,
    device: str,
) -> pa.Table:
    """One of AutoAttack's attacks on what is left of a shard, against the true labels.

    Args:
        model: the ONNX file that was certified.
        bounds: what was proved of it.
        examples: what is left of the shard.
        rows: their rows in the table of certificates.
        shard: which attack, at which ε.
        seed: of the job.
        device: where to compute, as torch names it.
    """
    from models.attacks.autoattack import attack_examples, shard_seed
    from models.attacks.reach import aiming_within, rivals_left_out
    from models.proof.bounds import Bounds
    from models.proof.program import logits_in_float64

    threads(1)
    program, inputs = program_of(model), examples.inputs()
    eps, proved = float(shard.eps or 0), Bounds.from_json(bounds)
    attacked = attack_examples(
        program,
        inputs,
        examples.labels,
        attack=shard.attack,
        eps=eps,
        seed=shard_seed(seed, eps=eps, shard=shard.number),
        aiming=aiming_within(program, proved, eps=eps, least=len(inputs)) if shard.aimed else None,
        device=device,
    )
    correct = logits_in_float64(program, inputs).argmax(axis=1) == examples.labels
    left_out = np.zeros(len(inputs), dtype=np.int32)
    if shard.aimed and shard.attack in TARGETED:
        left_out = np.where(correct, rivals_left_out(program, proved, inputs, eps=eps), left_out)
    found = _Attacked(
        inputs=inputs,
        images=attacked,
        kept=examples.labels,
        counted=correct,
        budgets=np.full(len(inputs), eps),
        left_out=left_out,
    )
    return _judged(model, bounds, rows, shard.attack, found, correct=correct)


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
        inputs=inputs,
        images=np.where(claims, finds.images, inputs),
        kept=predictions,
        counted=np.ones(len(inputs), dtype=bool),
        budgets=inside,
        left_out=np.zeros(len(inputs), dtype=np.int32),
    )
    return _judged(
        model, bounds, shard.rows, OWN_RADIUS, found, correct=predictions == examples.labels
    )


@dataclass(frozen=True)
class _Attacked:
    """What an attack was asked and gave, for each example of a shard.

    Attributes:
        inputs: the originals.
        images: what the attack made of them, the originals where it claims nothing.
        kept: classes that should have stayed.
        counted: where a break counts.
        budgets: L2, in input units.
        left_out: how many rivals targeted attacks did not aim at.
    """

    inputs: np.ndarray
    images: np.ndarray
    kept: np.ndarray
    counted: np.ndarray
    budgets: np.ndarray
    left_out: np.ndarray


def _judged(
    model: bytes,
    bounds: dict[str, Any],
    rows: np.ndarray,
    attack: str,
    found: _Attacked,
    *,
    correct: np.ndarray,
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
            "row": rows,
            "eps": found.budgets,
            "attacks": [attack] * len(correct),
            "left_out": found.left_out,
            "correct": correct,
            "robust": correct & ~broken,
            "claimed": claimed,
            "broken_by": np.where(broken, attack, ""),
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
