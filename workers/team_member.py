"""What each member of a team does: its parts of every step, from the ledger's last epoch on."""

import hashlib
import os
import secrets
from typing import Any

from models.errors import CertifyError
from workers.lessons import Lesson, epoch_of, is_over, seen_of
from workers.tasks import result, threads

INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
"""Where gloo and NCCL are told which network card to use."""


def train_member(lesson: dict[str, Any]) -> None:
    """Train to the end, as Ray Train has it done on every worker of a team.

    Args:
        lesson: `told`, the ledger, and references of the training and the validation part.
    """
    import ray

    try:
        _train(lesson["told"], lesson["ledger"], lesson)
    except CertifyError as refusal:  # the same again would come of the same
        ray.get(lesson["ledger"].refuse.remote(refusal))


def speak_where_ray_speaks() -> None:
    """Have gloo and NCCL use the network card of Ray's own address.

    Left alone, gloo asks what address this machine's name has; where that is a loopback address,
    as is usual, no other machine reaches it.
    """
    import psutil  # type: ignore[import-untyped]
    import ray

    address = ray.util.get_node_ip_address()
    for card, found in psutil.net_if_addrs().items():
        if any(each.address == address for each in found):
            for name in INTERFACES:
                os.environ.setdefault(name, card)


def _train(told: Lesson, ledger: Any, lesson: dict[str, Any]) -> None:
    import ray
    import torch
    from ray.train import get_context
    from ray.train.collective import broadcast_from_rank_zero
    from ray.train.torch import get_device
    from torch import distributed

    from models.networks.descent import Team

    threads(told.threads, tf32=True)
    rank, size = get_context().get_world_rank(), get_context().get_world_size()
    device = "cpu"
    if told.device != "cpu":
        torch.cuda.set_device(get_device())
        device = str(get_device())

    def gather(mine: torch.Tensor) -> torch.Tensor:
        if size == 1:
            return mine[None]
        everyones = [torch.empty_like(mine) for _ in range(size)]
        distributed.all_gather(everyones, mine)
        return torch.stack(everyones)

    name = broadcast_from_rank_zero(secrets.token_hex(8))
    state, history = result(ledger.begin.remote(name))
    train = ray.get(lesson["train"])
    validation = ray.get(lesson["validation"]) if rank == 0 else None
    while not is_over(told, history):
        epoch = len(history)
        team = Team(rank, size, gather)
        state, metrics = epoch_of(told, train, state, epoch, device=device, team=team)
        if validation is not None:
            metrics |= seen_of(told, state, validation, device=device)
            result(ledger.write.remote(epoch, state, metrics))
        sha256 = hashlib.sha256(state).hexdigest()
        history = [*history, result(ledger.follow.remote(epoch, sha256))]
