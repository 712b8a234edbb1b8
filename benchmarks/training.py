"""What a recipe reaches in its seconds, beside the peers' released code in the same run.

Every network is exported, bounded and certified by the proof engine, so that a row differs by its
training alone.  Seconds are the processor's, of training and nothing else, on one thread unless
OMP_NUM_THREADS says otherwise: another process on the machine does not change them much.

`--quick` trains each for one pass over 2,000 images and certifies 500: it shows that the table
can be made, and its figures mean nothing.  `--seeds 3` is the default, `--only NAME` takes rows
whose names begin with NAME, and `--cifar FOLDER` adds CIFAR-10 from Parquet files.

The last columns hold the certificate against gradient ascent, at ε = 36/255 and at 0.5: of the
first images, those that are certified there, and those that ascent from two starts moved to no
other class.

`--precision bfloat16` trains our recipes so, on processors that have matrix units for it.

A peer's layers under our loss train for as long as our row of the same run took; `--seconds S` says
it where that row is left out.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.peers import documented, orthogonium_layers, torchlip_layers, with_our_loss
from certify.jobs.job import JobSpec, load_job
from models.attacks.radius_attack import attack_radii
from models.model_spec import OnnxSpec
from models.networks.onnx_export import export_onnx
from models.networks.training import finished_network, start_training, train_epoch
from models.proof.reading.reader import read_program
from models.splits import Dataset, Split
from workers.certification import _certify_shard, _prove
from workers.data import load_data

EXAMPLES = Path(__file__).parent.parent / "examples"
EPS = (36 / 255, 72 / 255, 108 / 255, 0.5, 1.0)
REFERENCE = "torchlip, as documented"
HELD_AT, ATTACKED = (36 / 255, 0.5), 500
QUICK_TRAIN, QUICK_TEST = 2000, 500
PEERS = {"torchlip": torchlip_layers, "orthogonium AOC": orthogonium_layers}
Trainer = Callable[[Dataset, int, float], nn.Module]


@dataclass(frozen=True)
class Row:
    """A way to train, and the data that it is trained on."""

    name: str
    job: JobSpec
    trainer: Trainer
    timed_by: str = ""  # the row whose seconds it is given, where it runs for a time


@dataclass(frozen=True)
class Reached:
    """What one seed reached."""

    seconds: float
    accuracies: tuple[float, ...]
    body_bound: float
    held: tuple[float, ...]  # of the first images: certified, and not moved, at each ε of HELD_AT


def run(*options: str) -> None:
    """Print the table, a row as soon as its seeds are done."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks training")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--cifar", type=Path)
    parser.add_argument("--seconds", type=float, default=100.0)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    asked = parser.parse_args(options)
    rows = fashion_rows(quick=asked.quick, precision=asked.precision)
    if asked.cifar is not None:
        rows += cifar_rows(asked.cifar, quick=asked.quick, precision=asked.precision)
    seeds = range(1 if asked.quick else asked.seeds)
    print(f"seeds {list(seeds)}, {torch.get_num_threads()} thread(s), torch {torch.__version__}")
    columns = ("clean", "36/255", "72/255", "108/255", "0.5", "1.0", "body")
    columns += ("certified", "held", "certified", "held")
    print(f"{'':<36}{'s':>8}{'ratio':>8}" + "".join(f"{name:>10}" for name in columns))
    datasets: dict[str, Dataset] = {}
    seconds: dict[str, float] = {}
    for row in rows:
        if not row.name.startswith(asked.only):
            continue
        source = row.job.data.model_dump_json()
        if source not in datasets:
            datasets[source] = shortened(
                load_data(row.job.data, seed=0, folder=EXAMPLES), quick=asked.quick
            )
        allowed = seconds.get(row.timed_by, 5.0 if asked.quick else asked.seconds)
        reached = [measure(row, datasets[source], seed, seconds=allowed) for seed in seeds]
        seconds[row.name] = statistics.fmean(one.seconds for one in reached)
        print(line(row.name, reached, seconds.get(REFERENCE)), flush=True)


def fashion_rows(*, quick: bool, precision: str) -> list[Row]:
    """Rows of Fashion-MNIST: the documented example, our recipes, their loss on peers' layers."""
    jobs = {
        name: load_job(
            EXAMPLES / f"fashion-mnist-{name}.toml", overrides=[f"train.precision={precision}"]
        )
        for name in ("fast", "best", "robust")
    }
    as_documented = partial(documented_row, quick=quick)
    rows = [Row(REFERENCE, jobs["fast"], as_documented)]
    rows += [Row(job.name, job, partial(ours, job, quick=quick)) for job in jobs.values()]
    return rows + peer_rows(jobs["fast"], timed_by=jobs["best"].name, channels=16, features=64)


def cifar_rows(folder: Path, *, quick: bool, precision: str) -> list[Row]:
    """Rows of CIFAR-10: our recipe, then the peers' layers for as long under the same loss."""
    overrides = [f"data.path={folder.resolve()}", f"train.precision={precision}"]
    job = load_job(EXAMPLES / "cifar10.toml", overrides=overrides)
    rows = [Row(job.name, job, partial(ours, job, quick=quick))]
    return rows + peer_rows(job, timed_by=job.name, channels=64, features=512)


def peer_rows(job: JobSpec, *, timed_by: str, channels: int, features: int) -> list[Row]:
    """Peers' layers under the loss of a job, for as long as another row took."""

    def trainer(make: Callable[..., list[nn.Module]]) -> Trainer:
        def train(dataset: Dataset, seed: int, seconds: float) -> nn.Module:
            torch.manual_seed(seed)
            layers = make(dataset.input_shape, channels=channels, features=features)
            return with_our_loss(
                layers, features, dataset.train, loss=job.train.loss, seed=seed, seconds=seconds
            )

        return train

    return [
        Row(f"{name} as {timed_by}", job, trainer(make), timed_by) for name, make in PEERS.items()
    ]


def documented_row(dataset: Dataset, seed: int, seconds: float, *, quick: bool) -> nn.Module:
    """The documented example as a row; it runs for its epochs."""
    del seconds
    return documented(dataset.train, seed=seed, quick=quick)


def ours(job: JobSpec, dataset: Dataset, seed: int, seconds: float, *, quick: bool) -> nn.Module:
    """The network of an example job; it runs for its epochs."""
    del seconds
    if isinstance(job.model, OnnxSpec):
        raise TypeError("an example that trains nothing")
    train = job.train.model_copy(update={"epochs": 1}) if quick else job.train
    told = {"classes": len(dataset.classes), "seed": seed}
    state = start_training(job.model, train, dataset.train, **told)
    for epoch in range(train.epochs):
        state, _ = train_epoch(
            state, job.model, train, dataset.train, **told, epoch=epoch, device="cpu"
        )
    return finished_network(
        state, job.model, input_shape=dataset.input_shape, classes=told["classes"]
    )


def measure(row: Row, dataset: Dataset, seed: int, *, seconds: float) -> Reached:
    """Train, export, prove, certify the test part."""
    begun = time.process_time()
    network = row.trainer(dataset, seed, seconds)
    taken = time.process_time() - begun
    model = export_onnx(network, dataset.input_shape)
    bounds = _prove(model)
    shards = range(0, len(dataset.test), 500)
    tables = [
        _certify_shard(model, bounds, dataset.test.take(slice(start, start + 500)))
        for start in shards
    ]
    radius = np.concatenate([table["radius"].to_numpy() for table in tables])
    predicted = np.concatenate([table["prediction"].to_numpy() for table in tables])
    right = predicted == dataset.test.labels
    certified = [float((right & (radius >= eps)).mean()) for eps in EPS]
    held = [attacked(model, dataset.test, predicted, radius, eps=eps) for eps in HELD_AT]
    reached = (float(right.mean()), *certified)
    return Reached(taken, reached, bounds["feature_bound"], tuple(itertools.chain(*held)))


def attacked(
    model: bytes, test: Split, predicted: np.ndarray, radius: np.ndarray, *, eps: float
) -> tuple[float, float]:
    """Shares of the first images that are certified at ε, and that ascent did not move."""
    few = slice(0, ATTACKED)
    certain = (predicted == test.labels)[few]
    certified = certain & (radius[few] >= eps)
    asked = np.flatnonzero(certain & ~certified)
    images, own = test.take(asked).inputs(), predicted[asked]
    finds = attack_radii(read_program(model), images, own, np.full(len(asked), eps), seed=0)
    unmoved = int((finds.gaps <= 0).sum())
    return float(certified.mean()), (int(certified.sum()) + unmoved) / len(certified)


def line(name: str, reached: Sequence[Reached], reference: float | None) -> str:
    """A row of the table: means over the seeds."""
    seconds = statistics.fmean(one.seconds for one in reached)
    ratio = "" if reference is None else f"{seconds / reference:.3f}"
    by_eps = zip(*(one.accuracies for one in reached), strict=True)
    means = [statistics.fmean(values) for values in by_eps]
    bound = max(one.body_bound for one in reached)
    held = [statistics.fmean(values) for values in zip(*(r.held for r in reached), strict=True)]
    figures = [f"{100 * mean:10.2f}" for mean in means]
    figures += [f"{bound:10.7f}", *(f"{100 * share:10.2f}" for share in held)]
    return f"{name:<36}{seconds:8.1f}{ratio:>8}" + "".join(figures)


def shortened(dataset: Dataset, *, quick: bool) -> Dataset:
    """The data, or a few of its images."""
    if not quick:
        return dataset
    return replace(
        dataset, train=some(dataset.train, QUICK_TRAIN), test=some(dataset.test, QUICK_TEST)
    )


def some(split: Split, examples: int) -> Split:
    """The first examples."""
    return split.take(slice(0, examples))
