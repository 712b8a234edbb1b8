"""Prove a file's bounds on a worker, and certify a split in shards, one task to a shard."""

import functools
import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from models.splits import Split
from models.tables import CERTIFICATES
from workers.shards import as_completed
from workers.tasks import remote, result, share, threads


def prove_file(model: bytes) -> dict[str, Any]:
    """Bounds of an ONNX file, as JSON."""
    bounds: dict[str, Any] = result(prove_task(model))
    return bounds


def prove_task(model: bytes) -> Any:
    """A task that gives the bounds of an ONNX file, as JSON."""
    return remote(_prove).remote(model)


def certify_task(model: bytes, bounds: dict[str, Any], shard: Split) -> Any:
    """A task that gives a row of certificates to each example of a shard."""
    return remote(_certify_shard).remote(model, bounds, shard)


def certify_split(
    model: bytes,
    bounds: dict[str, Any],
    split: Split,
    *,
    shard_size: int,
    advance: Callable[[int], None],
) -> pa.Table:
    """A row of certificates to an example, in the split's order.

    Args:
        model: the ONNX file that was bounded.
        bounds: what `prove_file` gave.
        split: float32 or byte images.
        shard_size: examples in a shard; part of the job, unlike the number of workers.
        advance: told how many more examples are done.
    """
    run, shared = remote(_certify_shard), (share(model), share(bounds))
    starts = range(0, len(split), shard_size)
    calls = (
        functools.partial(run.remote, *shared, split.take(slice(start, start + shard_size)))
        for start in starts
    )
    tables: list[pa.Table] = [None] * len(starts)
    for place, table in as_completed(calls):
        tables[place] = table
        advance(len(table))
    return pa.concat_tables(tables).combine_chunks()


def seal_file(
    model: bytes,
    bounds: dict[str, Any],
    split: Split,
    certificates: pa.Table,
    *,
    metadata: dict[str, str],
) -> tuple[bytes, dict[str, float]]:
    """The sealed file, checked against every certified example, and what was measured of it."""
    sealed, measured = result(
        remote(_seal).remote(model, bounds, share(split), certificates, metadata)
    )
    return sealed, measured


@functools.lru_cache(maxsize=2)
def cached_program(sha256: str, model: bytes) -> Any:  # noqa: ARG001 (the hash is the quick key)
    """The program of a file, read once to a process."""
    from models.proof.reading.reader import read_program

    return read_program(model)


def program_of(model: bytes) -> Any:
    """The program of a file; tasks of one process share it."""
    return cached_program(hashlib.sha256(model).hexdigest(), model)


def _prove(model: bytes) -> dict[str, Any]:
    from models.proof.bounds import prove

    threads(1)
    return prove(program_of(model)).to_json()


def _certify_shard(model: bytes, bounds: dict[str, Any], shard: Split) -> pa.Table:
    from models.proof.bounds import Bounds
    from models.proof.certificate import certify_examples

    threads(1)
    found = certify_examples(program_of(model), Bounds.from_json(bounds), shard.inputs())
    radii_float32: Any = found.radii_float32
    if radii_float32 is None:
        radii_float32 = pa.nulls(len(shard), pa.float64())
    return pa.table(
        {
            "index": shard.indices,
            "label": shard.labels.astype(np.int32),
            "prediction": found.predictions.astype(np.int32),
            "rival": found.rivals.astype(np.int32),
            "margin": found.margins,
            "radius": found.radii,
            "radius_float32": radii_float32,
        },
        schema=CERTIFICATES,
    )


def _seal(
    model: bytes,
    bounds: dict[str, Any],
    split: Split,
    certificates: pa.Table,
    metadata: dict[str, str],
) -> tuple[bytes, dict[str, float]]:
    from models.proof.bounds import Bounds
    from models.proof.sealing import seal

    sealed = seal(
        model,
        Bounds.from_json(bounds),
        inputs=split.inputs(),
        predictions=certificates["prediction"].to_numpy(),
        margins=certificates["margin"].to_numpy(),
        radii=certificates["radius"].to_numpy(),
        metadata=metadata,
    )
    measured = {"slack": sealed.slack, "largest_shortfall": sealed.largest_shortfall}
    return sealed.model, measured
