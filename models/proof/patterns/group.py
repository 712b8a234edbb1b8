"""A group of operators that the walk treats as one, and how groups are laid over a program.

A group reads one tensor, its source, and makes one, its result.  Its theorem is relative to the
source.  A tensor inside that something outside reads keeps, for that reader, the plain rules.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from models.errors import ModelError
from models.proof.operators.operator import Operator, Stretch
from models.proof.operators.powers import GroupOnly


@dataclass(frozen=True)
class Group:
    """Operators that together are one function of their source.

    Attributes:
        kind: what it is, for a reader.
        source: the only tensor from outside that the operators read.
        operators: in order; the last one makes the result.
        theorem: gives the stretch from the source to the result; it may take a while.
    """

    kind: str
    source: str
    operators: tuple[Operator, ...]
    theorem: Callable[[], Stretch]

    @cached_property
    def stretch(self) -> Stretch:
        """The theorem, from the source to the result."""
        return self.theorem()

    @property
    def result(self) -> str:
        """The tensor that the group makes."""
        return self.operators[-1].result


@dataclass(frozen=True)
class Wiring:
    """Who makes a tensor, who reads it, and its shape for one example.

    Attributes:
        input_name: the program's input.
        operators: in order.
        shapes: of every tensor, the input's too.
    """

    input_name: str
    operators: tuple[Operator, ...]
    shapes: Mapping[str, tuple[int, ...]]

    @cached_property
    def maker(self) -> dict[str, Operator]:
        """Operator that makes a tensor, by name; the input has none."""
        return {operator.result: operator for operator in self.operators}

    @cached_property
    def readers(self) -> dict[str, tuple[Operator, ...]]:
        """Operators that read a tensor, by name."""
        found: defaultdict[str, list[Operator]] = defaultdict(list)
        for operator in self.operators:
            for name in dict.fromkeys(operator.operands):
                found[name].append(operator)
        return {name: tuple(readers) for name, readers in found.items()}

    @cached_property
    def place(self) -> dict[str, int]:
        """Where the operator that makes a tensor stands."""
        return {operator.result: at for at, operator in enumerate(self.operators)}

    def between(self, source: str, result: str) -> tuple[Operator, ...]:
        """Operators on the ways from `source` to `result`, in order.

        Empty where the input, unless it is the source, is read on the way too.
        """
        wanted, pending = set(), [result]
        while pending:
            name = pending.pop()
            if name == source or name in wanted:
                continue
            if name not in self.maker:
                return ()
            wanted.add(name)
            pending += self.maker[name].operands
        return tuple(self.operators[at] for at in sorted(self.place[name] for name in wanted))


Recogniser = Callable[[Wiring, Operator], Group | None]
"""Gives the group that ends in an operator, if it is of the recogniser's kind."""


def find_groups(wiring: Wiring, recognisers: Iterable[Recogniser]) -> dict[str, Group]:
    """Groups by the tensor that they make; the first recogniser that knows one decides."""
    found = {}
    known = tuple(recognisers)
    for operator in wiring.operators:
        for recognise in known:
            group = recognise(wiring, operator)
            if group is not None:
                found[operator.result] = group
                break
    return found


def needed_results(wiring: Wiring, groups: Mapping[str, Group]) -> set[str]:
    """Tensors whose bound the last one rests on; all others are inside groups alone.

    A tensor inside a group is needed where an operator outside, or another group, reads it.
    """
    needed = {wiring.operators[-1].result}
    for operator in reversed(wiring.operators):
        if operator.result in needed:
            group = groups.get(operator.result)
            needed.update(operator.operands if group is None else (group.source,))
    return needed


def refuse_alone(wiring: Wiring, groups: Mapping[str, Group]) -> None:
    """Refuse operators that have no bound by themselves where no group contains them.

    Raises:
        ModelError: With all of them, and the groups that would be accepted.
    """
    needed = needed_results(wiring, groups)
    alone = [
        operator
        for operator in wiring.operators
        if isinstance(operator, GroupOnly)
        and operator.result in needed
        and operator.result not in groups
    ]
    if alone:
        names = ", ".join(f"{operator.name} ({operator.kind})" for operator in alone)
        accepted = "; ".join(dict.fromkeys(operator.accepted for operator in alone))
        raise ModelError(f"no Lipschitz bound is known for {names} alone; accepted is {accepted}")
