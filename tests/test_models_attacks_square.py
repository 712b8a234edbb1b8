"""Square attack's search: the authors' images and generator, bit for bit."""

import functools

import pytest
import torch
from pyautoattack.square import SquareAttack

from models.attacks.square import square_search


def network(shape, *, classes, seed):
    """Two layers that keep about the norm; the first folds."""
    rng = torch.Generator().manual_seed(seed)
    pixels = shape[0] * shape[1] * shape[2]
    first = torch.randn(pixels, 32, generator=rng) / pixels**0.5
    last = torch.randn(32, classes, generator=rng) / 6
    return lambda images: (images.flatten(1) @ first).abs() @ last


def found(attack, inputs, labels):
    with torch.random.fork_rng():
        images = attack.perturb(inputs.clone(), labels)
        return images, torch.get_rng_state()


@pytest.mark.parametrize("eps", [0.05, 0.3, 2.0])
@pytest.mark.parametrize(
    ("count", "shape", "classes"), [(9, (1, 13, 13), 10), (4, (3, 7, 9), 4), (1, (1, 5, 5), 2)]
)
def test_images_and_random_numbers_are_the_authors(count, shape, classes, eps):
    model = network(shape, classes=classes, seed=count)
    inputs = torch.rand(count, *shape, generator=torch.Generator().manual_seed(classes))
    labels = model(inputs).argmax(1)
    told = {"norm": "L2", "n_queries": 250, "eps": eps, "seed": 3, "device": "cpu"}
    expected, after = found(SquareAttack(model, resc_schedule=False, **told), inputs, labels)
    ours = SquareAttack(model, resc_schedule=False, **told)
    ours.attack_single_run = functools.partial(square_search, ours)
    images, state = found(ours, inputs, labels)
    assert torch.equal(images, expected)
    assert torch.equal(state, after)
    assert (images != inputs).any() or eps < 2


def test_queries_count_what_each_image_took():
    model = network((1, 8, 8), classes=3, seed=0)
    inputs = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = model(inputs).argmax(1)
    attack = SquareAttack(model, norm="L2", n_queries=40, eps=1.0, device="cpu")
    attack.init_hyperparam(inputs)
    torch.manual_seed(0)
    expected, _ = SquareAttack.attack_single_run(attack, inputs, labels)
    torch.manual_seed(0)
    queries, _ = square_search(attack, inputs, labels)
    assert torch.equal(queries, expected)
    assert len(set(queries.tolist())) > 1


@pytest.mark.parametrize("side", [5, 6, 9, 12, 14, 24])
def test_any_side_from_five_on_is_attacked(side):
    model = network((1, side, side), classes=3, seed=0)
    inputs = torch.rand(2, 1, side, side, generator=torch.Generator().manual_seed(0))
    attack = SquareAttack(model, norm="L2", n_queries=5, eps=0.1, device="cpu")
    with torch.random.fork_rng():
        _, images = square_search(attack, inputs, model(inputs).argmax(1))
    distances = (images - inputs).flatten(1).norm(dim=1)
    assert ((distances > 0) & (distances <= 0.1 + 1e-6)).all()
