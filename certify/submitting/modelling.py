"""What a job's network is made of, before anything is trained: layers, parameters, memory."""

import json
from pathlib import Path
from typing import Any

from certify.jobs.job import JobSpec
from models.errors import JobError
from models.model_spec import OnnxSpec
from workers.data import load_data


def describe_model(job: JobSpec, *, folder: Path) -> dict[str, Any]:
    """A job's network in numbers, for the shape and the classes of its data.

    Args:
        job: what is asked for.
        folder: where relative paths of the job begin.

    Returns:
        `layers` with name, shape, parameters and operations each; `parameters` and `operations`
        in all, for one example forwards; `training_bytes` and
        `training_operations` of a step of the job's batch size.

    Raises:
        CertifyError: If the data is refused, or the job certifies a file that trained elsewhere.
    """
    if isinstance(job.model, OnnxSpec):
        raise JobError(
            f"{job.name}: with architecture 'onnx' nothing is trained; see certify bound"
        )
    from models.networks.summary import summarise  # torch loads only once it is needed

    dataset = load_data(job.data, seed=job.seed, folder=folder)
    found = summarise(
        job.model,
        input_shape=dataset.input_shape,
        classes=len(dataset.classes),
        examples=len(dataset.train),
    )
    return {
        "architecture": job.model.architecture,
        "layers": [
            {
                "name": layer.name,
                "shape": list(layer.shape),
                "parameters": layer.parameters,
                "operations": layer.operations,
            }
            for layer in found.layers
        ],
        "parameters": found.parameters,
        "operations": found.operations,
        "batch_size": job.train.batch_size,
        "training_bytes": found.training_bytes(batch_size=job.train.batch_size),
        "training_operations": found.training_operations(batch_size=job.train.batch_size),
    }


def model_text(description: dict[str, Any], *, as_json: bool) -> str:
    """A description for a terminal, a line to a layer, or as JSON."""
    if as_json:
        return json.dumps(description, indent=2)
    rows = [("layer", "shape", "parameters", "operations")]
    rows += [
        (
            layer["name"],
            "×".join(str(side) for side in layer["shape"]),
            f"{layer['parameters']:,}",
            f"{layer['operations']:,}",
        )
        for layer in description["layers"]
    ]
    rows.append(("all", "", f"{description['parameters']:,}", f"{description['operations']:,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        f"{name:<{widths[0]}}  {shape:<{widths[1]}}  {numbers:>{widths[2]}}  {work:>{widths[3]}}"
        for name, shape, numbers, work in rows
    ]
    mebibytes = description["training_bytes"] / 2**20
    lines.append(
        f"a step of {description['batch_size']} examples takes about {mebibytes:,.0f} MiB and "
        f"{description['training_operations'] / 1e9:,.1f} GFLOP"
    )
    return "\n".join(lines)
