"""A group of operators that the walk treats as one, and how groups are laid over a program.

A group reads one tensor, its source, and makes one, its result.  Its theorem is relative to the
source.  A tensor inside that something outside reads keeps, for that reader, the plain rules.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from models.proof.operators.operator import Operator, Stretch


@dataclass(frozen=True)
class Group:
    """Operators that together are one function of their source.

    Attributes:
        kind: what it is, for a reader.
        source: the only tensor from outside that the operators read.
        operators: in order; the last one makes the result.
        stretch: the theorem, from the source to the result.
    """

    kind: str
    source: str
    operators: tuple[Operator, ...]
    stretch: Stretch

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
        return tuple(operator for operator in self.operators if operator.result in wanted)


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


def hidden_results(wiring: Wiring, groups: Mapping[str, Group]) -> set[str]:
    """Tensors inside groups that nothing outside them reads: no plain rule is asked for those."""
    inside = defaultdict(set)
    for group in groups.values():
        for operator in group.operators[:-1]:
            inside[operator.result].add(group.result)
    last = wiring.operators[-1].result
    hidden: set[str] = set()
    for operator in reversed(wiring.operators):
        name = operator.result
        if name == last or name in groups or name not in inside:
            continue
        readers = {reader.result for reader in wiring.readers.get(name, ())}
        if all(reader in hidden or reader in inside[name] for reader in readers):
            hidden.add(name)
    return hidden
