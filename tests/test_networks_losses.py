import pytest
import torch

from models.networks.losses import (
    certified_radius_loss,
    cross_entropy_loss,
    pair_distances,
    pair_radii,
)

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
LABELS = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2])
AT_TAU_2 = [0.044275, 0.115109, 1.243572, 0.084923, 0.010887, 2.8023, 0.114224, 0.076357]


def a_case(*, examples=16, classes=5, width=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    head = torch.randn(classes, width, generator=generator, dtype=torch.float64)
    features = torch.randn(examples, width, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (examples,), generator=generator)
    return features, head, labels


@pytest.mark.parametrize("row", range(8))
def test_cross_entropy_at_temperature_half_is_the_reference_at_tau_2(row):
    found = cross_entropy_loss(LOGITS[row : row + 1], LABELS[row : row + 1], temperature=0.5)
    assert float(found) == pytest.approx(AT_TAU_2[row], abs=1e-6)


def test_a_small_temperature_gives_the_hinge_at_margin_0():
    behind = (LOGITS.amax(dim=1) - LOGITS.gather(1, LABELS[:, None])[:, 0]).mean()
    torch.testing.assert_close(cross_entropy_loss(LOGITS, LABELS, temperature=1e-4), behind)


def test_the_certified_radius_loss_is_its_formula():
    features, head, labels = a_case()
    logits = features @ head.T
    total = 0.0
    for z, y in zip(logits, labels.tolist(), strict=True):
        radii = [(z[y] - z[j]) / (head[y] - head[j]).norm() for j in range(5) if j != y]
        total += 0.25 * torch.log1p(sum(torch.exp((0.75 - r) / 0.25) for r in radii))
    found = certified_radius_loss(logits, labels, head=head, margin=0.75, temperature=0.25)
    torch.testing.assert_close(found, total / len(labels))


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


@pytest.mark.parametrize("scale", [1e-2, 1e3])
def test_scaling_the_head_changes_nothing(scale):
    features, head, labels = a_case()
    dials = {"margin": 0.75, "temperature": 0.25}
    plain = certified_radius_loss(features @ head.T, labels, head=head, **dials)
    scaled = head * scale
    again = certified_radius_loss(features @ scaled.T, labels, head=scaled, **dials)
    torch.testing.assert_close(again, plain)


@pytest.mark.parametrize("classes", [2, 3, 100])
@pytest.mark.parametrize("head_scale", [0.0, 1e-30, 1.0])
def test_equal_rows_leave_loss_and_gradient_finite(classes, head_scale):
    head = (head_scale * torch.ones(classes, 4)).requires_grad_()
    features = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    bias = torch.linspace(-1, 1, classes).requires_grad_()
    labels = torch.arange(6) % classes
    logits = features @ head.T + bias
    loss = certified_radius_loss(logits, labels, head=head, margin=0.75, temperature=0.25)
    loss.backward()
    assert loss.isfinite()
    assert head.grad.isfinite().all()
    assert bias.grad.isfinite().all()


def test_pair_distances_are_exact_for_near_rows():
    head = torch.tensor([[1000.0, 0.0], [1000.0, 1e-3], [0.0, 0.0]])
    assert float(pair_distances(head)[0, 1]) == pytest.approx(1e-3)
    assert pair_distances(head).diagonal().eq(0).all()
