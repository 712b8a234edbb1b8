import pyarrow as pa
import pytest

from models.errors import SoundnessError
from models.proof.soundness import violations
from models.tables import ATTACKS, CERTIFICATES


def certified(*radii):
    rows = [
        {
            "index": at,
            "label": 0,
            "prediction": 0,
            "rival": 1,
            "margin": 1.0,
            "radius": radius,
            "radius_float32": None,
        }
        for at, radius in enumerate(radii)
    ]
    return pa.Table.from_pylist(rows, schema=CERTIFICATES)


def attacked(*found):
    """One row to (row, distance, prediction); a distance of None is no break."""
    rows = [
        {
            "row": row,
            "eps": 1.0,
            "attacks": "apgd-ce",
            "left_out": 0,
            "correct": True,
            "robust": distance is None,
            "claimed": distance is not None,
            "broken_by": "" if distance is None else "apgd-ce",
            "prediction": prediction,
            "distance": distance or 0.0,
            "gap": 0.1,
            "attacked": None if distance is None else b"\0\0\0\0",
        }
        for row, distance, prediction in found
    ]
    return pa.Table.from_pylist(rows, schema=ATTACKS)


def test_a_break_outside_the_radius_refutes_nothing():
    assert violations(certified(0.5, 0.2), attacked((0, 0.500001, 1), (1, 0.9, 1))) == []


def test_a_break_at_the_radius_refutes_nothing_since_the_ball_is_open():
    assert violations(certified(0.5), attacked((0, 0.5, 1))) == []


def test_alarm_a_break_inside_the_radius_is_named_the_deepest_first():
    table = attacked((0, 0.49, 1), (1, None, 0), (2, 0.1, 3))
    found = violations(certified(0.5, 0.5, 0.4), table)
    assert [(violation.row, violation.attack_row) for violation in found] == [(2, 2), (0, 0)]
    assert "example 2 changed class from 0 to 3 at distance 0.1" in str(found[0])
    assert "inside its certified radius 0.4" in str(found[0])


def test_an_example_that_no_attack_broke_refutes_nothing():
    assert violations(certified(0.5), attacked((0, None, 0))) == []


def test_attacks_on_examples_that_were_not_certified_are_refused():
    with pytest.raises(SoundnessError, match="rows 0 to 0"):
        violations(certified(0.5), attacked((1, 0.1, 1)))
