"""Files that other libraries' networks become: read, equal to ONNX Runtime, bounded and tight."""

import numpy as np
import pytest
import torch

from models.errors import ModelError
from models.proof.bounds import prove
from models.proof.lipschitz import walk
from models.proof.reading.reader import read_program
from models.proof.sealing import run_onnx
from tests import foreign
from tests.oracles import images, stretch_seen

TIGHT = {
    foreign.torchlip_rows: ("MaxMin", 1e-5),
    foreign.orthogonium_rows: ("MaxMin", None),
    foreign.sll_rows: ("x - B φ(A x + b)", 1e-5),
    foreign.residual_rows: ("Concat of slices", 1e-5),
    foreign.mixed_rows: (None, 1e-5),
    foreign.torchlip_images: ("L2 pooling", 0.05),
    foreign.orthogonium_images: ("L2 pooling", 0.05),
    foreign.orthogonium_circular: ("circular Conv", 0.05),
    foreign.centred_images: ("x less its mean", 1e-5),
    foreign.sll_images: ("x - B φ(A x + b)", 1e-5),
}
LOOSE = (foreign.plain_rows, foreign.softmax_rows, foreign.plain_images)
EXPORTERS = [pytest.param(True, id="newer exporter"), pytest.param(False, id="older exporter")]
COMPUTED_WEIGHTS = (foreign.sll_rows, foreign.mixed_rows)
"""Their layers make weights anew in each pass, which the older exporter leaves in the file."""


def named(makers):
    return [pytest.param(maker, id=maker.__name__) for maker in makers]


def lower_bound(program, *, seed=0, rounds=40, step=1e-3):
    """Largest stretch of a pair of near inputs that power iteration finds, in float64."""
    noise = torch.Generator().manual_seed(seed)
    x = torch.rand(16, *program.input_shape, generator=noise, dtype=torch.float64)
    return stretch_seen(program, x, noise, rounds=rounds, step=step)


@pytest.mark.parametrize("dynamo", EXPORTERS)
@pytest.mark.parametrize("maker", named([*TIGHT, *LOOSE]))
def test_a_foreign_network_is_read_and_bounded(maker, dynamo):
    if maker in COMPUTED_WEIGHTS and not dynamo:
        pytest.skip("refused: see below")
    shape, network = foreign.build(maker)
    content = foreign.export(network, shape, dynamo=dynamo)
    program = read_program(content)
    x = images(7, shape)
    computed = run_onnx(content, x, optimised=False)["logits"]
    np.testing.assert_allclose(computed, foreign.outputs(network, x), atol=1e-5)
    with torch.inference_mode():
        ours = program(torch.from_numpy(x)).numpy()
    if program.ending:
        ours = np.exp(ours) / np.exp(ours).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(ours, computed, atol=1e-5)
    bounds = prove(program)
    assert lower_bound(program) <= bounds.lipschitz_bound * (1 + 1e-9)
    if maker in TIGHT:
        kind, above = TIGHT[maker]
        kinds = {step.kind for step in walk(program).steps}
        assert kind is None or kind in kinds
        assert above is None or bounds.lipschitz_bound <= 1 + above


@pytest.mark.parametrize("maker", named(COMPUTED_WEIGHTS))
def test_weights_that_a_file_computes_are_refused_and_named(maker):
    shape, network = foreign.build(maker)
    with pytest.raises(ModelError, match=r"/(Exp|Sigmoid|Sub)"):
        read_program(foreign.export(network, shape, dynamo=False))


def test_a_softmax_at_the_end_is_certified_on_the_logits_before_it():
    shape, network = foreign.build(foreign.softmax_rows)
    bounds = prove(read_program(foreign.export(network, shape, dynamo=True)))
    assert "Softmax" in bounds.refused_float32
