"""Seal a certified program: one file that repeats the table of certificates, and proves more.

A float32 runtime's logits are a few 1e-7 away from the exact ones, so the output `radius` cannot
be proven to stay below the exact radius; it is lowered by a slack measured on the certified
examples, with and without a runtime's graph optimisation, and then checked against every one of
them.  What deployment may rely on for a new image is the output `radius_float32`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from models.errors import VerificationError
from models.onnx_session import onnx_session
from models.proof.agreement import check_agreement, margins_of
from models.proof.bounds import Bounds
from models.proof.reading.reader import read_program
from models.proof.sealed_graph import seal_graph

OUTPUTS = ("logits", "label", "radius", "radius_float32")
CLOSE = 1e-5
"""How far below the table the output `radius` is meant to stay at most, in input units."""


@dataclass(frozen=True)
class Seal:
    """A sealed file and what was measured of it.

    Attributes:
        model: the file's bytes.
        slack: what its output `radius` is lowered by, in input units.
        largest_shortfall: of `radius` below the table, over all examples, in input units.
    """

    model: bytes
    slack: float
    largest_shortfall: float


def seal(
    model: bytes,
    bounds: Bounds,
    *,
    inputs: np.ndarray,
    predictions: np.ndarray,
    margins: np.ndarray,
    radii: np.ndarray,
    metadata: Mapping[str, str],
) -> Seal:
    """Seal a file and check it against the table of certificates.

    Args:
        model: the ONNX file that was bounded.
        bounds: what was proved of it.
        inputs: float32 images of the certified split.
        predictions: certified class of each.
        margins: exact logit of that class over the best other one, of each.
        radii: certified radius of each, in input units.
        metadata: for the file's metadata_props.

    Raises:
        VerificationError: If the sealed file is another program, its radii exceed the table's, or
            a runtime's margins are not the table's.
    """
    draft = seal_graph(model, bounds, slack=0.0, metadata=metadata)
    excess = max(
        float((outputs["radius"] - radii).max(initial=0.0)) for outputs in _both_ways(draft, inputs)
    )
    slack = 1.5 * excess + 2.0**-23
    sealed = seal_graph(model, bounds, slack=slack, metadata=metadata)
    check_program(sealed, bounds)
    shortfalls = []
    for outputs in _both_ways(sealed, inputs):
        check_agreement(margins, margins_of(outputs["logits"], predictions))
        shortfalls.append(check_outputs(outputs, predictions=predictions, radii=radii))
    return Seal(sealed, slack, max(shortfalls))


def check_program(sealed: bytes, bounds: Bounds) -> None:
    """Read the sealed file again: it must hold the program that was bounded.

    Raises:
        VerificationError: If it holds another one.
    """
    found = read_program(sealed).sha256
    if found != bounds.program_sha256:
        raise VerificationError(
            f"the sealed file holds program {found[:12]}; bounded was {bounds.program_sha256[:12]}"
        )


def check_outputs(
    outputs: Mapping[str, np.ndarray], *, predictions: np.ndarray, radii: np.ndarray
) -> float:
    """Hold a sealed file's outputs against the table of certificates.

    Returns:
        The largest shortfall of `radius` below the table, in input units.

    Raises:
        VerificationError: If a radius exceeds the table's, or a certified label differs.
    """
    found = outputs["radius"].astype(np.float64)
    claims = [found] + [
        outputs[name].astype(np.float64) for name in ("radius_float32",) if name in outputs
    ]
    for claim in claims:
        above = np.flatnonzero(~(claim <= radii))
        if len(above):
            first = int(above[0])
            raise VerificationError(
                f"example {first} has radius {claim[first]!r} in the sealed file; "
                f"certified is {radii[first]!r}"
            )
    differ = np.flatnonzero((outputs["label"] != predictions) & (radii > CLOSE))
    if len(differ):
        first = int(differ[0])
        raise VerificationError(
            f"example {first} has label {outputs['label'][first]} in the sealed file; "
            f"certified is {predictions[first]}"
        )
    return float((radii - found).max(initial=0.0))


def run_onnx(
    model: bytes, inputs: np.ndarray, *, optimised: bool = True, batch: int = 1000
) -> dict[str, np.ndarray]:
    """Outputs of an ONNX file in ONNX Runtime on one processor, by name.

    Args:
        model: the file's bytes.
        inputs: float32 images, batch first.
        optimised: whether the runtime may rewrite the graph, as it does unless told otherwise.
        batch: images in a run.
    """
    session = onnx_session(model, optimised=optimised)
    names = [output.name for output in session.get_outputs()]
    batches = [
        session.run(names, {session.get_inputs()[0].name: inputs[start : start + batch]})
        for start in range(0, len(inputs), batch)
    ]
    columns = zip(names, zip(*batches, strict=True), strict=True)
    return {name: np.concatenate(parts) for name, parts in columns}


def answers_of(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """The output that holds logits, or what the file makes of them; see `reading.reader`."""
    return outputs["logits"] if "logits" in outputs else next(iter(outputs.values()))


def _both_ways(model: bytes, inputs: np.ndarray) -> list[dict[str, np.ndarray]]:
    """Outputs with and without graph optimisation."""
    return [run_onnx(model, inputs, optimised=optimised) for optimised in (True, False)]
