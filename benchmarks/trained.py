"""The Fashion-MNIST example's classifier, trained once and kept for the benchmarks."""

import functools
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from certify.jobs.job import JobSpec, load_job
from models.networks.onnx_export import export_onnx
from models.networks.training import finished_network, start_training, train_epoch
from models.splits import Dataset
from workers.certification import _certify_shard, _prove
from workers.data import load_data

JOB = Path(__file__).parent.parent / "examples" / "fashion-mnist.toml"
KEPT = Path(tempfile.gettempdir()) / "certify-benchmarks"


@dataclass(frozen=True)
class Trained:
    """A classifier with all that was measured and proven of it."""

    job: JobSpec
    dataset: Dataset
    network: torch.nn.Module
    model: bytes
    bounds: dict[str, Any]
    certificates: pa.Table
    epoch_seconds: float


@functools.cache
def fashion_mnist() -> Trained:
    """Train by the example's job on one thread, or take the state that an earlier call kept."""
    torch.set_num_threads(1)
    job = load_job(JOB)
    dataset = load_data(job.data, seed=job.seed, folder=JOB.parent)
    told = {"classes": len(dataset.classes), "seed": job.seed}
    KEPT.mkdir(exist_ok=True)
    kept = KEPT / f"{job.sha256()[:16]}.safetensors"
    times = KEPT / f"{job.sha256()[:16]}.json"
    if not kept.exists():
        state, seconds = start_training(job.model, job.train, dataset.train, **told), []
        for epoch in range(job.train.epochs):
            begun = time.perf_counter()
            state, _ = train_epoch(
                state, job.model, job.train, dataset.train, **told, epoch=epoch, device="cpu"
            )
            seconds.append(time.perf_counter() - begun)
        kept.write_bytes(state)
        times.write_text(json.dumps(sorted(seconds)))
    network = finished_network(
        kept.read_bytes(), job.model, input_shape=dataset.input_shape, classes=told["classes"]
    )
    model = export_onnx(network, dataset.input_shape)
    bounds = _prove(model)
    certificates = _certify_shard(model, bounds, dataset.test)
    seconds = json.loads(times.read_text())
    return Trained(job, dataset, network, model, bounds, certificates, seconds[len(seconds) // 2])
