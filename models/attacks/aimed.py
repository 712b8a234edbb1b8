"""The suite's two targeted attacks, with many rivals of an image in one batch.

The authors aim at nine rivals in turn, at each with a batch of its own.  Here a row is an image and
one of its rivals.  Rows come in the authors' order, the likeliest rivals of all images first, and
fill batches of a fixed size; an image that was broken is left out of the batches to come.  Each row
goes through the authors' steps.

So a rival may be left out for one image and not for another: one that provably stays behind the
label everywhere within ε is reached by no attack.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.attacks.fab import fab_search

Search = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""From images, labels and rivals to what was found, and where it breaks."""


@dataclass(frozen=True)
class Aiming:
    """At what the targeted attacks aim.

    Attributes:
        worth: from images to whether a class is aimed at, a column a class.
        rows: most in a batch.
    """

    worth: Callable[[Tensor], Tensor]
    rows: int


def aimed_apgd(attack: Any, aiming: Aiming, inputs: Tensor, labels: Tensor) -> Tensor:
    """Stand in for `perturb` of the authors' targeted APGD, with its settings and seed.

    Args:
        attack: the authors' attack.
        aiming: at what.
        inputs: images that are classified right.
        labels: their classes.

    Returns:
        Images, the originals where no row changed the class.
    """
    attack.init_hyperparam(inputs)

    def search(images: Tensor, own: Tensor, rivals: Tensor) -> tuple[Tensor, Tensor]:
        attack.y_target = rivals
        _, held, _, found = attack.attack_single_run(images, own)
        return found, ~held

    torch.random.manual_seed(attack.seed)
    rows = _rows(attack.model(inputs), aiming, inputs)
    return _in_batches(rows, aiming.rows, inputs, labels, search)


def aimed_fab(attack: Any, aiming: Aiming, inputs: Tensor, labels: Tensor) -> Tensor:
    """Stand in for `perturb` of the authors' targeted FAB, with its settings.

    Args:
        attack: the authors' attack.
        aiming: at what.
        inputs: images that are classified right.
        labels: their classes.

    Returns:
        Images within ε, the originals where no row changed the class so near.
    """

    def search(images: Tensor, own: Tensor, rivals: Tensor) -> tuple[Tensor, Tensor]:
        found = fab_search(attack, images, own, rivals)
        other = attack.predict(found).max(dim=1).indices != own
        far = ((images - found) ** 2).flatten(1).sum(dim=-1).sqrt()
        return found, other & (far <= attack.eps)

    rows = _rows(attack.predict(inputs), aiming, inputs)
    return _in_batches(rows, aiming.rows, inputs, labels, search)


def _rows(logits: Tensor, aiming: Aiming, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Places of images and a rival of each, the likeliest rivals first."""
    ranked = logits.sort(dim=1).indices.flip(1)
    worth = aiming.worth(inputs).gather(1, ranked)
    rank, place = worth.T.nonzero().unbind(1)
    return place, ranked[place, rank]


def _in_batches(
    aimed: tuple[Tensor, Tensor], rows: int, inputs: Tensor, labels: Tensor, search: Search
) -> Tensor:
    """Search all rows; of an image that several rows break, the first one's find."""
    found, held = inputs.clone(), torch.ones_like(labels, dtype=torch.bool)
    places, rivals = aimed
    while len(places):
        few = places[:rows]
        images, broken = search(inputs[few], labels[few], rivals[:rows])
        for row in broken.nonzero()[:, 0].tolist():
            if held[few[row]]:
                found[few[row]], held[few[row]] = images[row], False
        left = held[places[rows:]]
        places, rivals = places[rows:][left], rivals[rows:][left]
    return found
