"""Random programs, drawn from the whole table of operators."""

import hypothesis

FUZZING = hypothesis.settings.default.max_examples >= 1000


def draws(*, test: int, fuzz: int) -> hypothesis.settings:
    """How many examples are drawn, while testing and under `make fuzz`."""
    return hypothesis.settings(max_examples=fuzz if FUZZING else test)
