"""What varied images cost: an epoch with each option against one without, turn about.

Processor seconds on one thread, the least of several short epochs; Fashion-MNIST's example
job, and images of CIFAR-10's size through 512-wide layers.
"""

import time
from pathlib import Path

import numpy as np
import torch

from certify.jobs.job import load_job
from models.model_spec import MlpSpec
from models.networks.training import start_training, train_epoch
from models.splits import Split
from models.train_spec import AugmentSpec

JOB = Path(__file__).parent.parent / "examples" / "fashion-mnist.toml"
STEPS = 8
EXAMPLES = STEPS * 256
ROUNDS = 5
OPTIONS = {
    "nothing": AugmentSpec(),
    "shift": AugmentSpec(shift=2),
    "flip": AugmentSpec(flip=True),
    "cutout": AugmentSpec(cutout=4),
    "shift and flip": AugmentSpec(shift=2, flip=True),
    "two operations": AugmentSpec(operations=2),
    "noise": AugmentSpec(noise=0.05),
}


def run() -> None:
    """Print the share of a step that each option adds."""
    torch.set_num_threads(1)
    job = load_job(JOB)
    print("varied images: what they add to a training step")
    for shape, model in (((1, 28, 28), job.model), ((3, 32, 32), MlpSpec(widths=(512, 512, 512)))):
        split = _noise(shape)
        state = start_training(model, job.train, split, classes=10, seed=0)
        seconds: dict[str, list[float]] = {name: [] for name in OPTIONS}
        for _ in range(ROUNDS):
            for name, augment in OPTIONS.items():
                train = job.train.model_copy(update={"augment": augment})
                begun = time.process_time()
                train_epoch(state, model, train, split, classes=10, seed=0, epoch=0, device="cpu")
                seconds[name].append(time.process_time() - begun)
        plain = min(seconds.pop("nothing"))
        print(f"  {'×'.join(map(str, shape))}, {plain / STEPS * 1e3:.1f} ms a step without")
        for name, found in seconds.items():
            print(f"    {name:<16} {min(found) / plain - 1:+7.1%}")


def _noise(shape: tuple[int, int, int]) -> Split:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (EXAMPLES, *shape)).astype(np.uint8)
    return Split(images, np.arange(EXAMPLES) % 10, np.arange(EXAMPLES))
