"""Norms and errors of computed tensors as a + b s, s at least the norm of every input meant."""

from dataclasses import dataclass

from models.proof.upward import up, up_product, up_sum


@dataclass(frozen=True)
class Growth:
    """a + b s, both non-negative."""

    a: float
    b: float

    def at(self, s: float) -> float:
        """The value, rounded up."""
        return up(self.a + self.b * s, 2)

    def plus(self, *others: "Growth") -> "Growth":
        """Sum, rounded up."""
        terms = (self, *others)
        return Growth(up_sum(term.a for term in terms), up_sum(term.b for term in terms))

    def times(self, factor: float) -> "Growth":
        """Product with a non-negative factor, rounded up."""
        return Growth(up_product(self.a, factor), up_product(self.b, factor))


NOTHING = Growth(0.0, 0.0)
