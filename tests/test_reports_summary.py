"""The summary: figures by hand, and every way in which tables can contradict each other."""

import math

import numpy as np
import pytest
from report_cases import attack_row, attacks_table, certificates_table

from models.errors import CertifyError
from models.tables import ATTACKS, CERTIFICATES
from reports.summary import summarise

# Five images: right with radii 0.2, 0.5 and 0.9; wrong with 0.7; right with 0.
CERTIFICATES_OF_FIVE = certificates_table(
    [0, 1, 2, 0, 1],
    [0, 1, 2, 1, 1],
    [0.2, 0.5, 0.9, 0.7, 0.0],
    radius_float32=[0.1, 0.4, 0.8, 0.6, None],
)
HELD = [attack_row(row, eps) for eps in (0.25, 0.5) for row in (1, 2)]
WRONG = [attack_row(3, eps, correct=False, robust=False) for eps in (0.25, 0.5)]
BROKEN = [
    attack_row(0, 0.25, robust=False, distance=0.21),
    attack_row(0, 0.5, robust=False, distance=0.21),
]


def summary_of(rows, **changed):
    given = {
        "run": "r-1",
        "verdict": "passed",
        "certificates": CERTIFICATES_OF_FIVE,
        "attacks": attacks_table(rows),
        "radius_attacks": attacks_table([attack_row(row, 0.1) for row in (0, 1, 2)]),
        "eps": (0.5, 0.25),
        "lipschitz_bound": 1.5,
        "violations": 0,
        "seconds": {"train": 2.0},
        "gates": [{"gate": "violations == 0", "found": 0, "passed": True}],
    }
    return summarise(**{**given, **changed})


def test_an_example_that_is_certified_may_be_left_alone_and_no_other():
    alone = {"attacks": ""}
    rows = [attack_row(1, 0.25, **alone), attack_row(2, 0.25), attack_row(1, 0.5)]
    rows += [attack_row(2, 0.5, **alone)]
    assert summary_of(rows)["left_alone"] == [1, 1]
    rows[2] |= alone  # a radius of exactly 0.5 is not above 0.5
    with pytest.raises(CertifyError, match="row 1 was not attacked at"):
        summary_of(rows)


def test_an_example_that_is_wrong_as_it_is_needs_no_attack():
    never = [attack | {"attacks": ""} for attack in WRONG]
    assert summary_of([*HELD, *never, *BROKEN]) == summary_of([*HELD, *WRONG, *BROKEN])


def test_every_figure_by_hand():
    found = summary_of([*HELD, *WRONG, *BROKEN])
    assert found == {
        "run": "r-1",
        "verdict": "passed",
        "violations": 0,
        "test_examples": 5,
        "clean_accuracy": 4 / 5,
        "eps": [0.25, 0.5],
        "certified_accuracy": [2 / 5, 1 / 5],  # a radius of exactly 0.5 is not above 0.5
        "certified_accuracy_float32": [2 / 5, 1 / 5],
        "mean_certified_radius": pytest.approx((0.2 + 0.5 + 0.9) / 5, rel=1e-15),
        "attacked_examples": 4,
        "attacks": ["apgd-ce", "apgd-t", "fab-t", "square"],
        "left_alone": [0, 0],
        "rivals_left_out": [0, 0],
        "radius_attacked_examples": 3,
        "clean_accuracy_attacked": 3 / 4,
        "certified_accuracy_attacked": [2 / 4, 1 / 4],
        "robust_accuracy": [2 / 4, 2 / 4],
        "rejected_claims": 0,
        "search": None,
        "lipschitz_bound": 1.5,
        "gates": [{"gate": "violations == 0", "found": 0, "passed": True}],
        "seconds": {"train": 2.0},
    }


def test_a_claim_that_the_recheck_did_not_confirm_is_counted_and_breaks_nothing():
    rows = [dict(each) for each in HELD]
    rows[0]["claimed"] = True
    found = summary_of(rows)
    assert found["rejected_claims"] == 1
    assert found["robust_accuracy"] == [1.0, 1.0]


def test_no_float32_radius_at_all_is_null_and_not_zero():
    table = certificates_table([0, 1, 2], [0, 1, 2], [1.0] * 3, radius_float32=[None] * 3)
    assert summary_of(HELD, certificates=table)["certified_accuracy_float32"] is None


def test_a_certified_image_that_is_broken_is_refused_and_named():
    rows = [*HELD[:3], attack_row(2, 0.5, robust=False, distance=0.4)]
    with pytest.raises(CertifyError, match=r"fails at ε 0\.5, first at row 2 .*50\.00%, 50\.00%"):
        summary_of(rows)


def test_a_break_inside_a_radius_below_eps_is_refused_too():
    rows = [attack_row(1, eps, robust=False, distance=0.3) for eps in (0.25, 0.5)]
    with pytest.raises(CertifyError, match=r"first at row 1 \(radius 0\.5, distance 0\.3\)"):
        summary_of(rows)


def test_robust_above_clean_is_refused():
    rows = [*HELD, *(attack_row(3, eps) for eps in (0.25, 0.5))]
    with pytest.raises(CertifyError, match=r"order certified ≤ robust ≤ clean fails at ε 0\.25"):
        summary_of(rows)


def test_a_refuted_run_may_break_the_order_of_proof_but_not_that_of_the_tables():
    rows = [*HELD[:3], attack_row(2, 0.5, robust=False, distance=0.4)]
    found = summary_of(rows, verdict="refuted", violations=1)
    assert found["certified_accuracy_attacked"][1] == found["robust_accuracy"][1] == 0.5
    rows += [attack_row(3, eps) for eps in (0.25, 0.5)]
    with pytest.raises(CertifyError, match="row 3"):
        summary_of(rows, verdict="refuted", violations=1)


FAILED_GATE = [{"gate": "clean_accuracy >= 0.9", "found": 0.8, "passed": False}]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"verdict": "fine"}, "none of passed, gate_failed, refuted, incomplete"),
        ({"verdict": "refuted"}, "contradict each other"),
        ({"violations": 1}, "contradict each other"),
        ({"gates": FAILED_GATE}, r"a gate fails: clean_accuracy >= 0\.9"),
        ({"verdict": "gate_failed"}, "no gate fails"),
        ({"eps": ()}, "expected ε that are positive and differ"),
        ({"eps": (0.5, 0.5)}, "expected ε that are positive and differ"),
        ({"eps": (math.nan,)}, "expected ε that are positive and differ"),
        ({"eps": (0.25, 0.5, 1.0)}, "no example was attacked at ε 1.0"),
        ({"lipschitz_bound": math.nan}, "Lipschitz bound"),
        ({"certificates": CERTIFICATES.empty_table()}, "certificates is empty"),
        ({"attacks": ATTACKS.empty_table()}, "no example was attacked at ε 0.25"),
        ({"certificates": CERTIFICATES_OF_FIVE.drop_columns("radius")}, "lacks radius"),
        ({"attacks": attacks_table(HELD).drop_columns("robust")}, "lacks robust"),
        ({"certificates": certificates_table([0] * 3, [0] * 3, [1, math.nan, 1])}, "row 1"),
        ({"certificates": certificates_table([0] * 3, [0] * 3, [1, 1, -1.0])}, "row 2"),
        ({"certificates": certificates_table([0], [0], [1.0])}, "rows 0 to 0"),
        ({"attacks": attacks_table([*HELD, HELD[0]])}, "names row 1 twice at ε 0.25"),
        ({"attacks": attacks_table(HELD[:3])}, "1 examples were attacked, not the 2"),
    ],
)
def test_what_contradicts_itself_is_refused(changed, message):
    with pytest.raises(CertifyError, match=message):
        summary_of(HELD, **changed)


def test_an_incomplete_run_counts_the_images_attacked_at_every_eps():
    found = summary_of([*HELD[:3], *BROKEN[:1]], verdict="incomplete", gates=[])
    assert found["attacked_examples"] == 1
    assert found["robust_accuracy"] == [1.0, 1.0]


def test_an_incomplete_run_without_attacks_has_no_figure_on_attacked_images():
    found = summary_of([], verdict="incomplete", gates=[])
    assert found["attacked_examples"] == 0
    assert found["attacks"] == []
    assert found["clean_accuracy_attacked"] is None
    assert found["robust_accuracy"] == found["certified_accuracy_attacked"] == [None, None]
    assert found["certified_accuracy"] == [2 / 5, 1 / 5]


def test_accuracies_agree_with_counting_one_by_one():
    """The slow and obvious twin, over random tables."""
    for seed in range(20):
        noise = np.random.default_rng(seed)
        n = int(noise.integers(3, 40))
        label, prediction = noise.integers(0, 3, n), noise.integers(0, 3, n)
        radius = noise.random(n)
        eps = tuple(sorted(noise.random(3) + 1e-3))
        correct = [bool(a == b) for a, b in zip(label, prediction, strict=True)]
        rows = [
            attack_row(row, each, correct=correct[row], robust=correct[row])
            for each in eps
            for row in range(0, n, 2)
        ]
        found = summary_of(
            rows, certificates=certificates_table(label, prediction, radius), eps=eps
        )
        for place, each in enumerate(eps):
            count = sum(correct[row] and radius[row] > each for row in range(n))
            assert found["certified_accuracy"][place] == count / n
            some = range(0, n, 2)
            count = sum(correct[row] and radius[row] > each for row in some)
            assert found["certified_accuracy_attacked"][place] == count / len(some)
