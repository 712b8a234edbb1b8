"""Look for signs that the attacks on a run were blind, in one task."""

from typing import Any

import numpy as np
import pyarrow as pa

from models.splits import Split
from workers.certification import program_of
from workers.tasks import remote, result, threads


def masking_alarms(
    model: bytes, examples: Split, searched: pa.Table, attacks: pa.Table
) -> list[dict[str, Any]]:
    """Every sign of masking: its `name`, whether it `rings`, and what was `found`.

    Args:
        model: the ONNX file that was attacked.
        examples: those that were searched.
        searched: their rows of the table of perturbations.
        attacks: the table of attacks, at each ε every one of those examples.
    """
    found: list[dict[str, Any]] = result(remote(_alarms).remote(model, examples, searched, attacks))
    return found


def _alarms(
    model: bytes, examples: Split, searched: pa.Table, attacks: pa.Table
) -> list[dict[str, Any]]:
    threads(1)
    return [*_of_program(model, examples, searched), *_of_tables(searched, attacks)]


def _of_program(model: bytes, examples: Split, searched: pa.Table) -> list[dict[str, Any]]:
    from models.attacks import masking
    from models.proof.sealing import answers_of, run_onnx

    program, inputs = program_of(model), examples.inputs()
    passes = [answers_of(run_onnx(model, inputs, optimised=False)) for _ in range(2)]
    return [
        vars(masking.zero_gradients(program, inputs, searched["prediction"].to_numpy())),
        vars(masking.logits_like_probabilities(passes[0])),
        vars(masking.passes_differ(*passes)),
    ]


def _of_tables(searched: pa.Table, attacks: pa.Table) -> list[dict[str, Any]]:
    """What the tables tell; both are in the order of the split."""
    from models.attacks import masking

    columns = {name: attacks[name].to_numpy(zero_copy_only=False) for name in ("eps", "robust")}
    robust = {float(e): columns["robust"][columns["eps"] == e] for e in np.unique(columns["eps"])}
    correct = searched["label"].to_numpy() == searched["prediction"].to_numpy()
    nearest = searched["distance"].to_numpy(zero_copy_only=False).astype(np.float64)
    nearest = np.where(correct & np.isfinite(nearest), nearest, np.inf)
    broken = {eps: int((correct & ~kept).sum()) for eps, kept in robust.items()}
    breakers = attacks["broken_by"].to_numpy(zero_copy_only=False)
    ran = {name for names in attacks["attacks"].unique().to_pylist() for name in names.split(", ")}
    by_attack = {name: breakers == name for name in sorted(ran - {""})}
    return [
        vars(masking.gradients_lead_nowhere(searched["found_by"].to_pylist())),
        vars(masking.success_does_not_grow(broken)),
        vars(masking.attacks_missed(robust, nearest)),
        vars(masking.square_beats_gradients(by_attack)),
    ]
