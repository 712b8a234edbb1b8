"""A team's weights are those of one process, to the bit, however many share the parts of a step."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from models.errors import CertifyError
from models.loss_spec import HkrLossSpec
from models.model_spec import MlpSpec
from models.networks.descent import Team
from models.networks.training import start_training, train_epoch
from models.train_spec import AugmentSpec, AverageSpec, TrainSpec
from tests.test_networks_training import noise_split
from workers.team_ledger import refuse_differing

SPLIT = noise_split((1, 4, 4), 3, examples=50)
MODEL = MlpSpec(widths=(8, 6))


def epoch(train, *, team=None):
    state = start_training(MODEL, train, SPLIT, classes=3, seed=0)
    return train_epoch(
        state, MODEL, train, SPLIT, classes=3, seed=0, epoch=0, device="cpu", team=team
    )


def together(train, size, *, lost=None):
    """What each of a team comes to; `lost` gets zeros for what the first one found."""
    barrier, found = threading.Barrier(size), [None] * size

    def member(rank):
        def gather(mine):
            found[rank] = mine
            barrier.wait(timeout=60)
            everyones = torch.stack(found)
            barrier.wait(timeout=60)
            if rank == lost:
                everyones[0] = 0
            return everyones

        return epoch(train, team=Team(rank, size, gather))

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(member, range(size)))


HOW = {
    "plain": {},
    "more parts than fit": {"batch_size": 7},
    "with all that training knows": {
        "augment": AugmentSpec(shift=1, flip=True),
        "average": AverageSpec(start=0.0),
    },
    "a loss of its classes' means within a part": {"loss": HkrLossSpec(name="hkr")},
}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_team_comes_to_the_bytes_and_the_loss_of_one(how, size):
    train = TrainSpec(**{"epochs": 1, "batch_size": 16, "accumulate": 4, **HOW[how]})
    state, metrics = epoch(train)
    for theirs in together(train, size):
        assert theirs == (state, metrics)


def test_the_number_of_parts_is_what_decides():
    whole, parts = (
        epoch(TrainSpec(epochs=1, batch_size=16, accumulate=count))[0] for count in (1, 4)
    )
    assert whole != parts


def test_a_member_that_missed_a_part_is_found_out():
    train = TrainSpec(epochs=1, batch_size=16, accumulate=2)
    one, other = (state.hex() for state, _ in together(train, 2, lost=1))
    refuse_differing(one, one, epoch=0)
    with pytest.raises(CertifyError, match="epoch 0: found weights that differ"):
        refuse_differing(one, other, epoch=0)
