"""Losses: reference values, the peer library's under the conventions named, and their limits."""

import math

import pytest
import torch
from deel import torchlip
from orthogonium.losses import LossXent
from pydantic import TypeAdapter, ValidationError

from models.loss_spec import (
    LOSSES,
    EmmaLossSpec,
    LossSpec,
    at_share,
    loss_dials,
    radius_dials,
)
from models.networks.losses.choice import loss_of
from models.networks.losses.cross_entropies import (
    binary_cross_entropy_loss,
    cross_entropy_loss,
    logit_annealing_loss,
    offset_cross_entropy_loss,
)
from models.networks.losses.hinges import (
    binary_hinge_loss,
    binary_hkr_loss,
    binary_kr_loss,
    hinge_loss,
    hkr_loss,
    kr_loss,
    weighted_hinge_loss,
)
from models.networks.losses.radii import (
    certified_radius_loss,
    emma_loss,
    pair_distances,
    pair_radii,
)
from models.networks.losses.soft_hkr import lse_hkr_loss, soft_hkr_loss
from models.train_spec import TrainSpec

# Small cases whose values were worked out by hand.  "binary": y = ±1 and f; "hkr" and "tau":
# labels and logits, with the mean over the classes of KR, the hinge at margin 1 with weight K - 1
# on the true class, -KR + 5 · hinge; a row's (1/τ) CE(τ z) at τ = 2, and its hinge at margin 1.1.
F = torch.tensor([0.5, 1.5, -0.5, -0.5, -1.5, 0.5])
SIDES = torch.tensor([1, 1, 1, 0, 0, 0])
HKR_LABELS = torch.tensor([0, 0, 0, 1, 1, 2])
HKR_LOGITS = torch.tensor(
    [[2, 0.2, -0.5], [-1, -1.2, 0.3], [0.8, 2, 0],
     [0, 1, -0.5], [2.4, -0.4, -1.1], [-0.1, -1.7, 0.6]]
)  # fmt: skip
LABELS = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2])
LOGITS = torch.tensor(
    [
        [1.5, 0.2, -0.5],
        [1, -1.2, 0.3],
        [0.8, 2, -2],
        [0, 1, -0.5],
        [-0.8, 2, 0],
        [2.4, -0.4, -1.1],
        [-0.1, -1.7, 0.6],
        [1.2, 1.3, 2.5],
    ]
)
AT_TAU_2 = [0.044275, 0.115109, 1.243572, 0.084923, 0.010887, 2.8023, 0.114224, 0.076357]
HINGE_1_1 = [0, 0.4, 2.3, 0.1, 0, 3.9, 0.4, 0]

SPECS = TypeAdapter(LossSpec)


def a_case(*, examples=16, classes=5, width=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    head = torch.randn(classes, width, generator=generator, dtype=torch.float64)
    features = torch.randn(examples, width, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (examples,), generator=generator)
    return features, head, labels


@pytest.mark.parametrize("row", range(8))
def test_a_row_at_temperature_half_and_its_hinge_are_the_references(row):
    z, y = LOGITS[row : row + 1], LABELS[row : row + 1]
    assert float(cross_entropy_loss(z, y, temperature=0.5)) == pytest.approx(
        AT_TAU_2[row], abs=1e-6
    )
    assert float(hinge_loss(z, y, margin=1.1)) == pytest.approx(HINGE_1_1[row], abs=1e-6)


def test_two_classes_told_by_a_sign_are_the_references():
    assert float(binary_kr_loss(F, SIDES)) == pytest.approx(-1.0)
    assert float(binary_hinge_loss(F, SIDES, margin=1.0)) == pytest.approx(0.6666666667)
    found = binary_cross_entropy_loss(F, SIDES, temperature=0.5)
    assert float(found) == pytest.approx(0.279185, abs=1e-6)


def test_hkr_of_three_classes_is_the_reference():
    assert float(kr_loss(HKR_LOGITS, HKR_LABELS)) == pytest.approx(-761 / 1800)
    hinge = weighted_hinge_loss(HKR_LOGITS, HKR_LABELS, margin=1.0)
    assert float(hinge) == pytest.approx(1.1555555556)
    found = hkr_loss(HKR_LOGITS, HKR_LABELS, margin=1.0, alpha=5.0)
    assert float(found) == pytest.approx(5.355, abs=1e-6)


@pytest.mark.parametrize("classes", [3, 10])
@pytest.mark.parametrize("alpha", [0.5, 9.0])
def test_hkr_losses_are_the_peers_under_the_conventions_named(classes, alpha):
    features, head, labels = a_case(classes=classes, examples=40)
    z, margin = (features @ head.T).float(), 6.0  # above the mean |z|: the peer's τ stays put
    onehot = torch.nn.functional.one_hot(labels, classes)
    theirs = {"alpha": alpha / (1 + alpha), "min_margin": 2 * margin}
    ours = {"margin": margin, "alpha": alpha}
    tau = 1.7
    lse = {"margin": margin / tau, "alpha": alpha}
    lse["temperature"] = lse["margin"] * 0.8 / math.log(classes - 1)
    for found, peer in (
        (hkr_loss(z, labels, **ours), torchlip.HKRMulticlassLoss(**theirs)),
        (
            soft_hkr_loss(z, labels, **ours, temperature=1 / tau),
            torchlip.SoftHKRMulticlassLoss(**theirs, temperature=tau),
        ),
        (
            tau * lse_hkr_loss(z, labels, **lse),
            torchlip.LseHKRMulticlassLoss(**theirs, temperature=tau, penalty=0.8),
        ),
    ):
        torch.testing.assert_close(found, (1 + alpha) * peer(z, onehot), rtol=1e-4, atol=1e-4)


def test_the_others_are_their_peers():
    features, head, labels = a_case()
    z, signed, sides = (features @ head.T).float(), features[:, 0].float(), labels % 2
    onehot = torch.nn.functional.one_hot(labels, 5)
    for found, expected in (
        (
            cross_entropy_loss(z, labels, temperature=0.2),
            torchlip.TauCrossEntropyLoss(5.0)(z, labels),
        ),
        (hinge_loss(z, labels, margin=3.0), torchlip.CategoricalHingeLoss(3.0)(z, onehot)),
        (
            binary_hkr_loss(signed, sides, margin=0.5, alpha=3.0),
            4 * torchlip.HKRLoss(0.75, min_margin=1.0)(signed[:, None], sides[:, None]),
        ),
        (
            offset_cross_entropy_loss(z, labels, offset=1.5, temperature=0.3),
            LossXent(5, offset=1.5, temperature=0.3)(z, labels),
        ),
    ):
        torch.testing.assert_close(found, expected)


def test_emma_lifts_a_rival_by_epsilon_where_it_is_certified_and_by_its_radius_elsewhere():
    head = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    z, labels, eps = torch.tensor([[1.0, 0.7, 1.2]], dtype=torch.float64), torch.tensor([0]), 0.3
    r_1 = 0.3 / math.sqrt(2)  # below ε; the third logit wins, and is lifted by a hundredth of ε
    lifted = torch.tensor([[1.0, 0.7 + math.sqrt(2) * r_1, 1.2 + 2 * 0.01 * eps]]).double()
    expected = torch.nn.functional.cross_entropy(lifted, labels)
    torch.testing.assert_close(emma_loss(z, labels, head=head, eps=eps), expected)
    far = torch.tensor([[9.0, 0.0, 0.0]], dtype=torch.float64)
    lifted = far + eps * pair_distances(head)[:1]
    expected = torch.nn.functional.cross_entropy(lifted, labels)
    torch.testing.assert_close(emma_loss(far, labels, head=head, eps=eps), expected)


def test_emmas_factor_carries_no_gradient():
    features, head, labels = a_case()
    z = (features @ head.T).requires_grad_()
    emma_loss(z, labels, head=head, eps=0.5).backward()
    share = (pair_radii(z, labels, head=head) / 0.5).clamp(0.01, 1).detach()
    lifted = (z + 0.5 * share * pair_distances(head)[labels]).softmax(dim=1)
    expected = (lifted - torch.nn.functional.one_hot(labels, 5)) / len(labels)
    torch.testing.assert_close(z.grad, expected)


def test_logit_annealing_is_its_formula_and_the_offset_loss_without_exponent():
    p = (LOGITS - 2 * torch.nn.functional.one_hot(LABELS, 3)).div(0.75).softmax(dim=1)
    own = p.gather(1, LABELS[:, None])[:, 0]
    dials = {"offset": 2.0, "temperature": 0.75}
    found = logit_annealing_loss(LOGITS, LABELS, **dials, exponent=5.0)
    torch.testing.assert_close(found, (0.75 * (1 - own) ** 5 * -own.log()).mean())
    plain = logit_annealing_loss(LOGITS, LABELS, **dials, exponent=0.0)
    torch.testing.assert_close(plain, offset_cross_entropy_loss(LOGITS, LABELS, **dials))


def test_a_small_temperature_gives_the_hinge_at_margin_0():
    hinge = hinge_loss(LOGITS, LABELS, margin=0.0)
    torch.testing.assert_close(cross_entropy_loss(LOGITS, LABELS, temperature=1e-4), hinge)


def test_a_batch_that_lacks_a_class_has_a_finite_loss():
    labels = torch.zeros_like(LABELS)
    expected = (LOGITS[:, 0] - LOGITS[:, 1] - LOGITS[:, 2]).mean() / 3
    torch.testing.assert_close(kr_loss(LOGITS, labels), -expected)
    torch.testing.assert_close(binary_kr_loss(F, torch.ones_like(SIDES)), -F.mean())


def test_the_certified_radius_loss_is_its_formula():
    features, head, labels = a_case()
    logits = features @ head.T
    total = 0.0
    for z, y in zip(logits, labels.tolist(), strict=True):
        radii = [(z[y] - z[j]) / (head[y] - head[j]).norm() for j in range(5) if j != y]
        total += 0.25 * torch.log1p(sum(torch.exp((0.75 - r) / 0.25) for r in radii))
    found = certified_radius_loss(logits, labels, head=head, margin=0.75, temperature=0.25)
    torch.testing.assert_close(found, total / len(labels))


def test_a_saturated_loss_is_its_formula_and_nowhere_above_its_saturation():
    features, head, labels = a_case()
    features[0] *= -1e6  # an example that nothing can save
    logits = features @ head.T
    dials = {"head": head, "margin": 0.75, "temperature": 0.25}
    rows = [
        certified_radius_loss(z[None], y[None], **dials)
        for z, y in zip(logits, labels, strict=True)
    ]
    expected = torch.stack(rows).div(0.8).neg().exp().neg().add(1).mul(0.8)
    found = certified_radius_loss(logits, labels, **dials, saturation=0.8)
    torch.testing.assert_close(found, expected.mean())
    assert float(expected.max()) == 0.8
    unlimited = certified_radius_loss(logits[1:], labels[1:], **dials)
    nearly = certified_radius_loss(logits[1:], labels[1:], **dials, saturation=1e6)
    torch.testing.assert_close(nearly, unlimited, rtol=1e-5, atol=0)


def test_a_saturated_loss_pulls_hopeless_examples_less_than_others():
    head = torch.eye(2, dtype=torch.float64)
    logits = torch.tensor([[0.0, 3.0], [0.5, 0.4]], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 0])
    dials = {"head": head, "margin": 0.75, "temperature": 0.25}
    pulls = []
    for saturation in (None, 0.8):
        loss = certified_radius_loss(logits, labels, **dials, saturation=saturation)
        (gradient,) = torch.autograd.grad(loss, logits)
        pulls.append(gradient.norm(dim=1))
    assert pulls[0][0] > pulls[0][1]
    assert pulls[1][0] < pulls[1][1] / 4


def test_the_pair_radii_are_distances_to_the_planes_of_equal_logits():
    features, head, labels = a_case()
    radii = pair_radii(features @ head.T, labels, head=head)
    for x, y, row in zip(features, labels.tolist(), radii, strict=True):
        for j in range(5):
            if j == y:
                assert row[j] == 0
                continue
            normal = head[y] - head[j]
            on_plane = x - row[j] * normal / normal.norm()
            assert abs(float(on_plane @ normal)) < 1e-12


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"emma"}))
@pytest.mark.parametrize("scale", [1e-2, 1e3])
def test_scaling_the_head_changes_nothing(name, classes, scale):
    features, head, labels = a_case(classes=classes)
    spec = SPECS.validate_python({"name": name})
    plain = loss_of(spec, features @ head.T, labels, head=head)
    scaled = head * scale
    torch.testing.assert_close(loss_of(spec, features @ scaled.T, labels, head=scaled), plain)


def test_the_saturating_dials_are_met_and_those_between_and_beyond_follow():
    def dials(eps):
        return tuple(loss_dials("certified-radius", eps).values())

    assert dials(0.5) == (0.6, 0.2, 0.8)
    assert dials(1.0) == pytest.approx((1.1, 0.3, 1.5))
    assert dials(0.75) == pytest.approx((0.85, 0.25, 1.15))
    assert dials(2.0) == pytest.approx((2.2, 0.6, 3.0))
    assert dials(0.4999) == radius_dials(0.4999)  # none is measured: no saturation


@pytest.mark.parametrize("name", LOSSES)
def test_a_rival_that_comes_nearer_makes_no_loss_smaller(name):
    """From an even start, up for the true class is down for the loss, and up for a rival is up."""
    head = torch.eye(4, dtype=torch.float64)
    logits = torch.zeros(4, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.arange(4)
    loss_of(SPECS.validate_python({"name": name}), logits, labels, head=head).backward()
    own = torch.eye(4, dtype=torch.bool)
    assert (logits.grad[own] < 0).all()
    assert (logits.grad[~own] >= 0).all()
    assert (logits.grad[~own] > 0).any()


@pytest.mark.parametrize(
    ("name", "head_scale"),
    [(name, 1.0) for name in LOSSES]
    + [(name, 1e-30) for name in ("certified-radius", "emma", "hkr")],
)
@pytest.mark.parametrize("classes", [2, 3, 100])
def test_equal_rows_leave_loss_and_gradient_finite(name, classes, head_scale):
    head = (head_scale * torch.ones(classes, 4)).requires_grad_()
    features = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    bias = torch.linspace(-1e-3, 1e-3, classes).requires_grad_()
    labels = torch.arange(6) % classes
    logits = features @ head.T + bias
    loss = loss_of(SPECS.validate_python({"name": name}), logits, labels, head=head)
    loss.backward()
    assert loss.isfinite()
    assert head.grad.isfinite().all()
    assert bias.grad.isfinite().all()


def test_pair_distances_are_exact_for_near_rows():
    head = torch.tensor([[1000.0, 0.0], [1000.0, 1e-3], [0.0, 0.0]])
    assert float(pair_distances(head)[0, 1]) == pytest.approx(1e-3)
    assert pair_distances(head).diagonal().eq(0).all()


def test_the_measured_dials_are_met_and_those_between_and_beyond_follow():
    assert radius_dials(0.5) == (0.75, 0.25)
    assert radius_dials(1.0) == (1.0, 0.5)
    assert radius_dials(0.125) == pytest.approx((0.25, 0.06))
    assert radius_dials(0.75) == pytest.approx((0.875, 0.375))
    assert radius_dials(2.0) == pytest.approx((2.0, 1.0))
    rising = [radius_dials(eps / 100) for eps in range(1, 300)]
    assert rising == sorted(rising)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_accepts_its_dials_for_an_epsilon(name):
    spec = SPECS.validate_python({"name": name, **loss_dials(name, 0.3)})
    assert spec.name == name


NONSENSE = {
    "margin": ("certified-radius", 0.0),
    "temperature": ("cross-entropy", -1.0),
    "offset": ("offset-cross-entropy", -0.1),
    "exponent": ("logit-annealing", 0.5),
    "alpha": ("hkr", -1.0),
    "eps": ("emma", 0.0),
    "tau": ("cross-entropy", 2.0),
}


@pytest.mark.parametrize("key", NONSENSE)
@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_a_nonsensical_dial_is_refused_by_name(key, value):
    name, bad = NONSENSE[key]
    with pytest.raises(ValidationError, match=key):
        SPECS.validate_python({"name": name, key: bad if value is None else value})


def test_a_loss_is_refused_where_its_name_is_unknown():
    with pytest.raises(ValidationError, match=r"'certified-radius'.*'lse-hkr'"):
        SPECS.validate_python({"name": "focal"})


def test_the_list_of_names_is_the_unions():
    assert set(LOSSES) == set(SPECS.json_schema()["discriminator"]["mapping"])


def test_emmas_radius_rises_over_the_first_half_and_no_other_loss_changes():
    emma = EmmaLossSpec(name="emma", eps=0.42, start=0.1)
    found = [at_share(emma, share).eps for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert found == pytest.approx([0.1, 0.26, 0.42, 0.42, 0.42])
    assert at_share(emma, 0.3).start is None
    for name in LOSSES:
        spec = TrainSpec(loss={"name": name}).loss
        assert at_share(spec, 0.1) is spec


def test_emma_that_would_fall_is_refused():
    with pytest.raises(ValueError, match=r"start = 0\.5; accepted is at most eps, 0\.25"):
        EmmaLossSpec(name="emma", eps=0.25, start=0.5)
