import numpy as np
import pytest
import torch
from torch import nn

from models.model_spec import CnnSpec, LinearSpec, LipNextSpec, LipResNetSpec, MlpSpec
from models.networks import principal_axes as principal_axes_module
from models.networks.classifier import folded, initial_classifier, kept_components
from models.networks.holding import held_weights
from models.networks.orthogonal import drift
from models.networks.principal_axes import mean_image, principal_axes
from models.splits import Split

MODELS = [
    (LinearSpec(architecture="linear"), (1, 4, 4), 3),
    (MlpSpec(widths=(16, 16)), (1, 4, 4), 2),
    (MlpSpec(widths=(24, 9), components=7), (3, 5, 2), 10),
    (MlpSpec(widths=(5,), components=1000), (2, 3, 3), 101),
    (MlpSpec(widths=(1, 6)), (1, 1, 2), 2),
    (CnnSpec(architecture="cnn", channels=8, widths=(16, 12)), (3, 9, 10), 4),
    (CnnSpec(architecture="cnn", patch=2, channels=6, kernel="block", widths=(9,)), (1, 6, 6), 3),
    (CnnSpec(architecture="cnn", channels=16, kernel="shift", widths=(9,)), (3, 8, 9), 3),
    (
        LipResNetSpec(architecture="lipresnet", channels=12, depth=1, neck=False, widths=(9,)),
        (1, 6, 9),
        3,
    ),
    (LipNextSpec(architecture="lipnext", patch=2, channels=24, depth=2), (3, 6, 4), 3),
    *[
        (
            LipResNetSpec(
                architecture="lipresnet", patch=2, channels=8, depth=2, block=block, widths=(9,)
            ),
            (1, 7, 8),
            3,
        )
        for block in ("linear", "sll", "cpl")
    ],
]


def noise_split(input_shape, classes, *, examples=60, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (examples, *input_shape), dtype=np.uint8)
    labels = rng.integers(0, classes, examples)
    return Split(images, labels, np.arange(examples))


def start(model, split, classes, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return initial_classifier(model, split, classes=classes, generator=generator)


@pytest.mark.parametrize("architecture", ["cnn", "lipresnet"])
def test_without_a_neck_every_feature_of_the_trunk_reaches_the_dense_layers(architecture):
    specs = {"cnn": CnnSpec, "lipresnet": LipResNetSpec}
    for neck, features in ((True, 2 * 10 * 2 * 2), (False, 10 * 3 * 4)):
        spec = specs[architecture](architecture=architecture, channels=10, neck=neck, widths=(9,))
        network = start(spec, noise_split((1, 9, 14), 3), 3)
        (dense,) = (layer for layer in network.body if isinstance(layer, nn.Linear))
        assert dense.in_features == features


@pytest.mark.parametrize(("model", "input_shape", "classes"), MODELS)
def test_the_folded_network_is_the_same_function(model, input_shape, classes):
    split = noise_split(input_shape, classes)
    network = start(model, split, classes)
    inputs = torch.tensor(split.inputs())
    torch.testing.assert_close(folded(network)(inputs), network(inputs), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize(("model", "input_shape", "classes"), MODELS)
def test_every_parameter_has_a_gradient(model, input_shape, classes):
    split = noise_split(input_shape, classes)
    network = start(model, split, classes)
    loss = nn.functional.cross_entropy(
        network(torch.tensor(split.inputs())), torch.tensor(split.labels)
    )
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(("model", "input_shape", "classes"), MODELS)
def test_the_folded_body_never_stretches(model, input_shape, classes):
    network = start(model, noise_split(input_shape, classes), classes)
    for held in held_weights(network):  # as far off as training may leave them
        held.parameter.data += 0.05 * torch.randn(
            held.parameter.shape, generator=torch.Generator().manual_seed(1)
        )
    body = folded(network)[:-1].double()
    generator = torch.Generator().manual_seed(2)
    a = torch.rand(60, *input_shape, generator=generator).double()
    for step in (1e-3, 1.0):
        b = a + step * torch.randn(a.shape, generator=generator)
        stretch = (body(a) - body(b)).flatten(1).norm(dim=1) / (a - b).flatten(1).norm(dim=1)
        assert stretch.max() <= 1 + 1e-6


def test_the_folded_matrices_are_orthogonal_and_their_order_is_plain():
    network = start(MlpSpec(widths=(12, 20, 8)), noise_split((1, 5, 5), 4), 4)
    network.body[2].weight.data *= 1.1
    layers = folded(network)
    kinds = [nn.Flatten, *[nn.Linear, nn.PReLU] * 3, nn.Linear]
    assert [type(layer) for layer in layers] == kinds
    assert not layers.training
    for layer in layers[1:-1:2]:
        assert drift(layer.weight.detach().double()) < 1e-6


def test_linear_is_flatten_and_one_layer():
    network = start(LinearSpec(architecture="linear"), noise_split((1, 5, 5), 4), 4)
    assert [type(layer) for layer in folded(network)] == [nn.Flatten, nn.Linear]


@pytest.mark.parametrize(("share", "turned"), [(0.1, 10), (0.5, 50)])
def test_every_fold_turns_its_share_at_the_start_and_the_logits_are_centred(share, turned):
    split = noise_split((1, 6, 6), 3, examples=101)
    network = initial_classifier(
        MlpSpec(widths=(20, 20)),
        split,
        classes=3,
        generator=torch.Generator().manual_seed(0),
        turned=share,
    )
    features = network.view(torch.tensor(split.inputs()))
    for layer in network.body:
        features = layer(features)
        if isinstance(layer, nn.Linear):
            assert ((features < -1e-6).sum(dim=0) == turned).all()
            assert features.kthvalue(turned + 1, dim=0).values.abs().max() < 1e-6
    assert network.head(features).mean(dim=0).abs().max() < 1e-5


def test_the_start_repeats_and_leaves_the_global_generator_alone():
    split = noise_split((1, 4, 4), 3)
    before = torch.get_rng_state()
    first, second = (start(MlpSpec(widths=(8,)), split, 3) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


@pytest.mark.parametrize(
    ("wanted", "pixels", "examples", "kept"),
    [(None, 784, 1000, 256), (300, 784, 1000, 300), (None, 64, 1000, 64), (None, 784, 5, 4)],
)
def test_components_never_exceed_pixels_or_examples(wanted, pixels, examples, kept):
    model = MlpSpec(components=wanted)
    assert kept_components(model, pixels=pixels, examples=examples) == kept


def test_principal_axes_agree_with_the_singular_vectors():
    split = noise_split((1, 6, 6), 2, examples=80)
    centre = mean_image(split)
    rows = torch.tensor(split.inputs()).flatten(1).double()
    torch.testing.assert_close(centre, rows.mean(dim=0), atol=1e-7, rtol=0)
    axes = principal_axes(split, centre, components=5, generator=torch.Generator())
    expected = torch.linalg.svd(rows - centre, full_matrices=False).Vh[:5]
    overlap = torch.linalg.svdvals(axes @ expected.T)
    torch.testing.assert_close(overlap, torch.ones(5).double(), atol=1e-4, rtol=0)


def test_the_iteration_for_large_images_finds_the_same_energy(monkeypatch):
    rng = np.random.default_rng(0)
    low_rank = rng.random((90, 6)) @ rng.random((6, 48)) / 6 + 0.01 * rng.random((90, 48))
    images = low_rank.reshape(90, 3, 4, 4).astype(np.float32)
    split = Split(images, np.zeros(90, dtype=np.int64), np.arange(90))
    centre = mean_image(split)
    dials = {"components": 6, "generator": torch.Generator().manual_seed(0)}
    exact = principal_axes(split, centre, **dials)
    monkeypatch.setattr(principal_axes_module, "LARGEST_COVARIANCE", 1)
    found = principal_axes(split, centre, **dials)
    assert drift(found) < 1e-12
    rows = torch.tensor(images).flatten(1).double() - centre
    assert (rows @ found.T).norm() > 0.999 * (rows @ exact.T).norm()
