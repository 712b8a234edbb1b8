"""Smooth functions of each entry: what they are, and how their steepest slopes are proved.

Those that rise, or whose slope is steepest where it is seen to be, have it by hand: an exponential
below 0 is steepest at 0, and so are the arctangent, the softsign and the error function.  Products
of an entry and a gate have slopes that no formula tells; they are proved by `slopes.steepest`.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy import special

from models.audit.arithmetic import above
from models.audit.formulas import Formula, chain, evaluated, loss_of, slope_bound
from models.audit.node import Node
from models.audit.operators.elementwise import library
from models.audit.step import Loss, Step

SMOOTH: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {
    "Tanh": (np.tanh, 1.0),
    "Sigmoid": (special.expit, 0.25),
    "Softplus": (lambda x: np.logaddexp(0.0, x), 1.0),
    "Softsign": (lambda x: x / (1 + np.abs(x)), 1.0),
    "Erf": (special.erf, above(2 / math.sqrt(math.pi), 4)),
    "Atan": (np.arctan, 1.0),
    "Sin": (np.sin, 1.0),
    "Cos": (np.cos, 1.0),
}
"""A function and its steepest slope."""
EXPONENTIAL = {
    "Elu": {"alpha": 1.0},
    "Selu": {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875},
    "Celu": {"alpha": 1.0},
}


def smooth(node: Node) -> list[Step]:
    """A function without numbers."""
    run, slope = SMOOTH[node.kind]
    return [
        node.step(
            run,
            prove=lambda: slope,
            rounds=lambda: library(node.kind, terms=1),
            facts={"entry": (node.kind, ())},
        )
    ]


def exponential(node: Node) -> list[Step]:
    """Elu, Selu, Celu: x above 0, and below it what an exponential bends it to."""
    usual = EXPONENTIAL[node.kind]
    told = {name: float(node.attributes.get(name, value)) for name, value in usual.items()}
    alpha, gamma = told["alpha"], told.get("gamma", 1.0)
    inner = alpha if node.kind == "Celu" else 1.0
    if not math.isfinite(alpha * gamma) or not inner > 0:
        raise node.refuse(f"alpha {alpha} and gamma {gamma}")
    steepest = 1.0 if node.kind == "Celu" else max(1.0, abs(alpha))
    factor = above(abs(gamma) * steepest, 2)

    def run(x: np.ndarray) -> np.ndarray:
        below = alpha * np.expm1(np.minimum(x, 0) / inner)
        return np.asarray(gamma * np.where(x > 0, x, below))

    return [node.step(run, prove=lambda: factor, rounds=lambda: _bent(node.kind, factor))]


def _bent(kind: str, factor: float) -> Loss:
    return Loss(
        roundings=12,
        absolute=max(1.0, factor),
        largest=max(1.0, factor),
        library=True,
        uncovered=f"float32 runtimes differ in how they round {kind}",
    )


def gelu(node: Node) -> list[Step]:
    """Half of x (1 + erf(x / √2)), or what tanh makes of it."""
    way = node.attributes.get("approximate", b"none")
    plain: Formula = chain(
        ("times", (math.sqrt(0.5),)), ("Erf", ()), ("plus", (1.0,)),
        ("product", (), (0, 3)), ("times", (0.5,)),
    )  # fmt: skip
    inner = math.sqrt(2 / math.pi)
    by_tanh: Formula = chain(
        ("cube", ()), ("times", (0.044715,)), ("sum", (), (0, 2)), ("times", (inner,)),
        ("Tanh", ()), ("plus", (1.0,)), ("product", (), (0, 6)), ("times", (0.5,)),
    )  # fmt: skip
    if way not in (b"none", b"tanh"):
        raise node.refuse(f"approximate {way.decode()}")
    if way == b"tanh":
        return [of_formula(node, by_tanh, kind="GeluTanh")]
    return [of_formula(node, plain, kind="Gelu")]


def mish(node: Node) -> list[Step]:
    """The product of x and tanh(log(1 + exp x))."""
    return [of_formula(node, chain(("Softplus", ()), ("Tanh", ()), ("product", (), (0, 2))))]


def hard_swish(node: Node) -> list[Step]:
    """The product of x and x / 6 + 1/2, kept between 0 and 1."""
    sixth = float(np.float32(1 / 6))
    gate = ("times", (sixth,)), ("plus", (0.5,)), ("between", (0.0, 1.0))
    return [of_formula(node, chain(*gate, ("product", (), (0, 3))))]


def of_formula(node: Node, formula: Formula, kind: str = "") -> Step:
    """A step that a formula gives, slope and all."""
    name = kind or node.kind
    return node.step(
        lambda x: evaluated(formula, x),
        kind=name,
        prove=lambda: slope_bound(formula),
        rounds=lambda: loss_of(formula, name),
    )


def hard_sigmoid(node: Node) -> list[Step]:
    """What alpha x + beta is, kept between 0 and 1, in three steps."""
    alpha, beta = (
        float(np.float32(node.attributes.get(name, usual)))
        for name, usual in (("alpha", 0.2), ("beta", 0.5))
    )
    if not math.isfinite(alpha + beta):
        raise node.refuse(f"alpha {alpha} and beta {beta}")
    steep = abs(alpha)
    scaled = node.step(
        lambda x: alpha * x,
        result=node.inner(1),
        prove=lambda: steep,
        rounds=lambda: Loss(roundings=1, absolute=steep, largest=steep),
        facts={"entry": ("times", (alpha,))},
    )
    moved = node.knowing([scaled]).step(
        lambda x: x + beta,
        scaled.result,
        result=node.inner(2),
        rounds=lambda: Loss(roundings=1),
        facts={"entry": ("plus", (beta,))},
    )
    kept = node.knowing([scaled, moved]).step(
        lambda x: np.clip(x, 0, 1), moved.result, facts={"entry": ("between", (0.0, 1.0))}
    )
    return [scaled, moved, kept]


def part(node: Node) -> list[Step]:
    """Comparisons, choices, logarithms, quotients: steps that only a group gives a bound."""
    operands = [at for at in range(len(node.inputs)) if not node.fixed(at)]
    names = [node.activation(at) for at in operands]
    constants = {at: _number(node, at) for at in range(len(node.inputs)) if node.fixed(at)}
    if len({node.shapes[name] for name in names}) > 1:
        raise node.refuse("activations of two shapes")

    def run(*values: np.ndarray) -> np.ndarray:
        given = dict(zip(operands, values, strict=True)) | constants
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(PARTS[node.kind](*(given[at] for at in range(len(given)))))

    numbers = tuple(constants.get(at) for at in range(len(node.inputs)))
    return [
        node.step(run, *names, facts={"numbers": numbers}, prove=lambda: math.inf, bounded=False)
    ]


def _number(node: Node, at: int) -> float:
    values = node.weight(at)
    if values.size != 1 or values.ndim > 1:
        raise node.refuse(f"operand {at}, which is no single number,")
    return float(values.reshape(()))


PARTS: dict[str, Callable[..., np.ndarray]] = {
    "Div": np.divide,
    "Greater": lambda x, y: np.asarray(x > y, dtype=np.float64),
    "Log": np.log,
    "Where": lambda chosen, x, y: np.asarray(np.where(chosen > 0, x, y)),
}
