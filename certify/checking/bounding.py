"""What `certify bound` says of an ONNX file: how far it stretches, proved and seen."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text
from threadpoolctl import threadpool_limits

from models.proof.agreement import drawn_images
from models.proof.bounds import Bounds, bounds_of
from models.proof.importing import Preprocessing, check_import, import_model
from models.proof.lipschitz import walk
from models.proof.lower_bounds import lower_bounds
from models.proof.pair_lower_bounds import pair_lower_bounds
from models.proof.program import Program
from models.proof.reading.reader import read_program
from models.proof.steps import Step
from reports.words import rounded_down, rounded_up
from workers.model_file import read_model_file
from workers.tasks import threads

WIDTH = 130
"""Columns of the table where there is no terminal."""
DECIMALS = 8
"""Of a bound in print."""


def bound_file(path: Path) -> dict[str, Any]:
    """Bounds of a model file, without any data.

    Returns:
        `lipschitz_bound` and `lipschitz_lower_bound` of the logits, `feature_bound` of what the
        head reads, `pair_bounds` and `pair_lower_bounds` (classes × classes; None where there are
        so many pairs that one was not looked at), all in logits or features per unit of input;
        `operators`, a row each; what was left out at the end, and what is covered in float32.

    Raises:
        ModelError: If the file cannot be read, or an operator of it has no rule.
        SoundnessError: If a lower bound is above its upper bound.
        VerificationError: If ONNX Runtime computes another function than the one that is bounded.
    """
    content = read_model_file(path)
    program = read_program(content)
    threads(1)
    with threadpool_limits(limits=1):  # as on a worker: the bounds of a run, to the bit
        found = walk(program)
    bounds, seen = bounds_of(found), lower_bounds(found)
    imported = import_model(content, Preprocessing(), program=program)
    check_import(imported, drawn_images(program.input_shape))
    seen_of_pairs = pair_lower_bounds(program, bounds)
    return _facts(program, bounds) | {
        "model_sha256": hashlib.sha256(content).hexdigest(),
        "lipschitz_lower_bound": seen.program,
        "pair_lower_bounds": [
            [None if np.isnan(value) else value for value in row] for row in seen_of_pairs.tolist()
        ],
        "operators": [
            _row(step, lower) for step, lower in zip(found.steps, seen.operators, strict=True)
        ],
    }


def print_bounds(facts: dict[str, Any], *, as_json: bool) -> None:
    """Print the bounds for a person, or as they are for a program."""
    if as_json:
        print(json.dumps(facts, indent=2, allow_nan=False))  # noqa: T201
        return
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    console.print(_table(facts["operators"]))
    for words, value in _findings(facts):
        console.print(f"{words:<36} {value}", highlight=False, markup=False, soft_wrap=True)


def _facts(program: Program, bounds: Bounds) -> dict[str, Any]:
    """What was proved of the whole."""
    return {
        "lipschitz_bound": bounds.lipschitz_bound,
        "feature_bound": bounds.feature_bound,
        "pair_bounds": bounds.pair_bounds.tolist(),
        "classes": program.classes,
        "input_shape": list(program.input_shape),
        "ending": list(program.ending),
        "float32_covered": bounds.float32 is not None,
        "refused_float32": bounds.refused_float32,
        "program_sha256": bounds.program_sha256,
    }


def _row(step: Step, lower: float | None) -> dict[str, Any]:
    """One operator: its bound from above, what was seen from below, and all up to it."""
    upper = step.stretch.factor
    return {
        "name": step.name,
        "operator": step.kind,
        "shape": "×".join(str(side) for side in step.shape),
        "method": step.stretch.method,
        "upper_bound": upper,
        "lower_bound": lower,
        "ratio": upper / lower if lower else None,
        "bound_up_to_here": step.lipschitz_bound,
    }


def _table(operators: list[dict[str, Any]]) -> Table:
    table = Table(show_edge=False, pad_edge=False)
    for column in ("name", "operator", "shape", "method"):
        table.add_column(column)
    for column in ("upper bound", "lower bound", "ratio"):
        table.add_column(column, justify="right")
    for row in operators:
        words = (Text(row[key]) for key in ("name", "operator", "shape", "method"))
        upper, lower, ratio = (row[key] for key in ("upper_bound", "lower_bound", "ratio"))
        table.add_row(*words, _above(upper), _below(lower), _above(ratio))
    return table


def _findings(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """The whole file in words: what is proved, what is seen, what is left out."""
    above_diagonal = np.triu_indices(facts["classes"], k=1)
    pairs = np.asarray(facts["pair_bounds"])[above_diagonal]
    seen = np.asarray(facts["pair_lower_bounds"], dtype=np.float64)[above_diagonal]
    float32 = "covered" if facts["float32_covered"] else f"not covered: {facts['refused_float32']}"
    findings = [
        ("Lipschitz bound of the logits", _above(facts["lipschitz_bound"])),
        ("  seen, from below", _below(facts["lipschitz_lower_bound"])),
        ("bound of the features", _above(facts["feature_bound"])),
        ("bounds of the pairs of classes", f"{_above(pairs.min())} to {_above(pairs.max())}"),
        ("  over what is seen of them", _ratios(pairs, seen)),
        ("radius_float32", float32),
    ]
    if facts["ending"]:
        left_out = " and ".join(facts["ending"])
        findings.append(("left out behind the logits", f"{left_out}: the largest stays the same"))
    return findings


def _ratios(pairs: np.ndarray, seen: np.ndarray) -> str:
    """Least and largest ratio of a pair's bound to what is seen of it."""
    moved = seen > 0  # neither a pair that was not looked at, nor one whose gap never moves
    if not moved.any():
        return "–"
    ratios = pairs[moved] / seen[moved]
    looked_at = "" if not np.isnan(seen).any() else f", of {moved.sum()} pairs of {len(pairs)}"
    return f"{_above(ratios.min())} to {_above(ratios.max())}{looked_at}"


def _above(bound: float | None) -> str:
    """A bound in print: never less than was proven; the exact numbers are in the JSON."""
    return rounded_up(bound, decimals=DECIMALS)


def _below(seen: float | None) -> str:
    """What was seen, never more of it than that."""
    return "–" if seen is None else rounded_down(seen, decimals=DECIMALS)
