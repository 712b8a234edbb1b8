"""What a pass of a program costs, and how long and how broadly is looked at that price.

Everything here is counted from the program alone, never measured, so that the same job gives the
same results on every machine.
"""

import math
from dataclasses import dataclass

from models.proof.operators.affine import Dense
from models.proof.operators.convolution import Windowed
from models.proof.program import Program

ENTRIES = 2**27
"""Of all tensors of a program, for all rows of a batch together: half a gigabyte of float32."""
PRODUCTS = 2**34
"""That the search for one image's smallest change may take, forward: a second or two of a core."""
HALVINGS = 12
"""Of the way from an image to a find that somebody made, before FMN begins there."""


@dataclass(frozen=True)
class Effort:
    """How long to look for the smallest change of an image.

    Attributes:
        rivals: that DDN looks towards, those of the largest logits.
        first: steps of DDN.
        kept: rivals that FMN goes on with.
        steps: of FMN.
        pushes: how far beside DDN's find FMN begins, per distance of the find; one start each.
    """

    rivals: int = 9
    first: int = 20
    kept: int = 2
    steps: int = 40
    pushes: tuple[float, ...] = (1.0, 1.0, 1.0, 1.5, 1.5, 2.0)

    def rows(self, *, finds: int) -> int:
        """Most rows that an image has in a batch, with so many finds to begin at beside DDN's."""
        return max(self.rivals, self.kept * (1 + len(self.pushes)) + finds)

    def passes(self, *, finds: int) -> int:
        """Most passes that an image takes, nearly all of them forward and backward."""
        fmn = self.kept * (1 + len(self.pushes)) + finds
        bisected = finds * (2 + HALVINGS)
        return 1 + self.rivals * (self.first + 1) + fmn * (self.steps + 1) + bisected


EFFORTS = (
    Effort(),
    Effort(pushes=(1.0, 1.5)),
    Effort(rivals=5, first=15, kept=1, steps=30, pushes=(1.0,)),
    Effort(rivals=3, first=10, kept=1, steps=15, pushes=()),
    Effort(rivals=2, first=8, kept=1, steps=8, pushes=()),
)
"""From the most to the least; the least is made at any price."""


def affordable_effort(program: Program, *, finds: int) -> Effort:
    """The most that an image's share of products pays for.

    Args:
        program: what is searched.
        finds: images to begin at, beside those that the search finds itself.
    """
    price = products(program)
    for effort in EFFORTS[:-1]:
        if effort.passes(finds=finds) * price <= PRODUCTS:
            return effort
    return EFFORTS[-1]


def rows_at_once(program: Program, *, least: int = 1) -> int:
    """Rows that a batch may have: as many as memory allows, whatever the machine.

    Args:
        program: what they pass through.
        least: rows that are let through in any case.
    """
    entries = program.input_size + sum(math.prod(shape) for shape in program.shapes)
    return max(least, ENTRIES // entries)


def products(program: Program) -> int:
    """Products behind the logits of one image: those of linear layers, and 1 an entry."""
    count = program.input_size
    for operator, shape in zip(program.operators, program.shapes, strict=True):
        each = 1
        match operator:
            case Dense():
                each += operator.weight.array.shape[1]
            case Windowed():
                each += math.prod(operator.kernel.array.shape[1:])
        count += each * math.prod(shape)
    return count
