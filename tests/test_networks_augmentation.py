"""Varied images: each option does what it says, is decided by its generator, and stays an image."""

import pytest
import torch

from models.networks import augmentation
from models.networks.augmentation import augmented
from models.train_spec import AugmentSpec

SHAPES = [(7, 1, 8, 8), (5, 3, 6, 11)]


def some_images(shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def varied(images, *, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    return augmented(images, AugmentSpec(**options), generator=generator)


EVERYTHING = {"shift": 2, "flip": True, "cutout": 3, "operations": 3, "magnitude": 1.0}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_varied_batch_is_a_batch_of_images_and_its_generator_decides_it(shape):
    images = some_images(shape)
    kept = images.clone()
    once, again = varied(images, **EVERYTHING), varied(images, **EVERYTHING)
    other = varied(images, seed=1, **EVERYTHING)
    assert once.shape == images.shape
    assert once.dtype == torch.float32
    assert once.min() >= 0
    assert once.max() <= 1
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert torch.equal(images, kept)


def test_nothing_is_varied_unless_it_is_asked_for():
    images = some_images(SHAPES[0])
    assert not AugmentSpec().on
    assert not AugmentSpec(operations=2, magnitude=0.0).on
    assert not AugmentSpec(operations=2, probability=0.0).on
    assert torch.equal(varied(images), images)
    assert torch.equal(varied(images, operations=2, probability=0.0), images)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_flip_mirrors_some_images_and_leaves_the_others(shape):
    images = some_images((40, *shape[1:]))
    same, mirrored = (
        (varied(images, flip=True) == each).flatten(1).all(dim=1)
        for each in (images, images.flip(3))
    )
    assert torch.equal(same, ~mirrored)
    assert 8 <= same.sum() <= 32


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shift_moves_whole_pixels_and_black_comes_in(shape):
    images = some_images((60, *shape[1:])) + 0.01
    moved = varied(images, shift=2)
    seen = set()
    for before, after in zip(images, moved, strict=True):
        fits = []
        for down in range(-2, 3):
            for right in range(-2, 3):
                rolled = before.roll((down, right), dims=(1, 2))
                rolled[:, : max(down, 0)] = rolled[:, :, : max(right, 0)] = 0
                if down < 0:
                    rolled[:, down:] = 0
                if right < 0:
                    rolled[:, :, right:] = 0
                fits += [(down, right)] * bool(torch.equal(rolled, after))
        assert len(fits) == 1
        seen.update(fits)
    assert len(seen) > 10


@pytest.mark.parametrize("side", [1, 3, 4])
def test_a_cutout_is_one_black_square_through_all_channels(side):
    images = torch.ones(800, 2, 9, 7)
    cut = varied(images, cutout=side)
    assert torch.equal(cut[:, 0], cut[:, 1])
    black = cut[:, 0] == 0
    assert black.flatten(1).sum(dim=1).max() == side**2
    assert (black.any(dim=2).sum(dim=1) <= side).all()
    assert (black.any(dim=1).sum(dim=1) <= side).all()
    assert black.any(dim=0).all()  # every pixel is cut in some image


def by(**strengths):
    return {name: torch.tensor([strengths.get(name, 0.0)]) for name in augmentation.KINDS}


def test_a_change_of_no_strength_is_none():
    images = some_images((1, 3, 6, 11))
    found = augmentation._resampled(images, augmentation._affine(by()))
    torch.testing.assert_close(found, images)


def test_a_quarter_turn_of_a_square_is_exact(monkeypatch):
    monkeypatch.setattr(augmentation, "WIDEST", torch.pi / 2)
    images = some_images((1, 2, 8, 8))
    found = augmentation._resampled(images, augmentation._affine(by(turn=1.0)))
    torch.testing.assert_close(found, images.rot90(1, (2, 3)), atol=1e-5, rtol=0)


def test_a_turn_keeps_lengths_where_the_image_is_no_square(monkeypatch):
    monkeypatch.setattr(augmentation, "WIDEST", torch.pi / 2)
    images = torch.zeros(1, 1, 5, 11)
    images[0, 0, 2, 3:8] = 1  # five pixels in the middle of the middle row
    found = augmentation._resampled(images, augmentation._affine(by(turn=1.0)))
    expected = torch.zeros(1, 1, 5, 11)
    expected[0, 0, :, 5] = 1
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_a_move_is_by_a_share_of_the_side(monkeypatch):
    monkeypatch.setattr(augmentation, "FARTHEST", 0.25)
    images = some_images((1, 1, 8, 8))
    found = augmentation._resampled(images, augmentation._affine(by(**{"move-x": 1.0})))
    torch.testing.assert_close(found[..., :6], images[..., 2:], atol=1e-5, rtol=0)
    assert (found[..., 6:] == 0).all()


def test_a_change_of_tone_is_by_a_factor_from_black_or_from_the_mean():
    images = some_images((300, 1, 4, 4)) * 0.5 + 0.2
    found = varied(images, operations=1, probability=1.0, magnitude=0.2)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    lighter, starker = (
        (ratio - ratio[:, :, :1, :1]).abs().flatten(1).amax(dim=1) < 2e-3
        for ratio in (found / images, (found - mean) / (images - mean))
    )
    kinds = len(augmentation.KINDS)
    for kind in (lighter, starker):
        assert 300 / kinds / 2 < kind.sum() < 2 * 300 / kinds


def test_some_images_are_left_alone_by_the_random_changes():
    images = some_images((60, 1, 8, 8))
    found = varied(images, operations=2, magnitude=0.5, probability=0.4)
    same = (found == images).flatten(1).all(dim=1)
    assert 20 < same.sum() < 52


def test_noise_has_its_deviation_and_no_direction():
    images = some_images((64, 3, 16, 16))
    added = varied(images, noise=0.1) - images
    assert AugmentSpec(noise=0.1).on
    assert float(added.std()) == pytest.approx(0.1, rel=0.02)
    assert abs(float(added.mean())) < 0.1 * 4 / added.numel() ** 0.5
    assert torch.equal(varied(images, noise=0.1), varied(images, noise=0.1))
