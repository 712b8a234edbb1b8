"""Each architecture of images is trained for some steps, exported, and proven."""

import numpy as np
import pytest

from models.model_spec import CnnSpec, LipNextSpec, LipResNetSpec
from models.networks.onnx_export import check_parity, export_onnx
from models.networks.training import finished_network, start_training, train_epoch
from models.proof.bounds import prove
from models.proof.reading.reader import read_program
from models.splits import Split
from models.train_spec import TrainSpec

TRAIN = TrainSpec(epochs=4, batch_size=20)
CASES = [
    (CnnSpec(architecture="cnn", channels=8, widths=(16, 12)), (3, 9, 10)),
    (CnnSpec(architecture="cnn", channels=16, kernel="shift", widths=(12,)), (3, 8, 8)),
    (LipNextSpec(architecture="lipnext", patch=2, channels=32, depth=2), (1, 8, 6)),
    (
        LipResNetSpec(architecture="lipresnet", patch=2, channels=8, depth=2, widths=(16,)),
        (3, 7, 8),
    ),
]


def blurred_classes(input_shape, *, classes=3, examples=60):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, examples)
    images = 0.6 * rng.random((classes, *input_shape))[labels]
    images += 0.4 * rng.random(images.shape)
    return Split(images.astype(np.float32), labels, np.arange(examples))


@pytest.mark.parametrize(("model", "input_shape"), CASES, ids=lambda case: str(case)[:9])
def test_it_trains_ships_and_is_proven(model, input_shape):
    split, losses = blurred_classes(input_shape), []
    state = start_training(model, TRAIN, split, classes=3, seed=0)
    for epoch in range(TRAIN.epochs):
        state, metrics = train_epoch(
            state, model, TRAIN, split, classes=3, seed=0, epoch=epoch, device="cpu"
        )
        losses.append(metrics["loss"])
    assert losses[-1] < 0.85 * losses[0]
    assert sorted(losses, reverse=True) == losses
    network = finished_network(state, model, input_shape=input_shape, classes=3)
    content = export_onnx(network, input_shape)
    assert check_parity(content, network, split.inputs()) < 1e-5
    bounds = prove(read_program(content))
    assert bounds.feature_bound <= 1 + 1e-5
    head = network[-1].weight.detach().double()
    distances = (head[:, None] - head[None]).norm(dim=2).numpy()
    np.testing.assert_allclose(bounds.pair_bounds, distances, rtol=1e-5)
    assert bounds.refused_float32 is None
