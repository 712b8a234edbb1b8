"""Which images are shown, and that a picture holds the pixels that it shows."""

import base64
import dataclasses
import io

import numpy as np
import pytest
from PIL import Image
from report_cases import attack_row, attacks_table, certificates_table, digits_results

from models.errors import CertifyError
from models.tables import ATTACKS
from reports.gallery import strips
from reports.pictures import (
    Break,
    attacked_image,
    change_uri,
    closest_breaks,
    least_certified,
    most_certified,
    picture_uri,
    rows_to_show,
    surest_mistakes,
)
from reports.rows import read_certificates


def pixels_of(uri):
    header, data = uri.split(",", 1)
    assert header == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def a_break(attacked, *, distance=0.5, radius=0.4):
    return Break(row=0, eps=1.0, prediction=1, distance=distance, radius=radius, attacked=attacked)


def test_most_and_least_certified_come_from_as_many_classes_as_there_are():
    label = np.repeat(np.arange(8), 5)
    radius = np.arange(40) / 10 + 0.1
    examples = read_certificates(certificates_table(label, label, radius))
    most, least = most_certified(examples), least_certified(examples)
    assert most == [39, 34, 29, 24, 19, 14]
    assert least == [0, 5, 10, 15, 20, 25]


def test_two_classes_fill_six_places_and_nothing_is_shown_twice():
    label = np.arange(20) % 2
    examples = read_certificates(certificates_table(label, label, np.arange(20) / 10))
    most, least = most_certified(examples), least_certified(examples)
    assert most == [19, 18, 17, 16, 15, 14]
    assert least == [0, 1, 2, 3, 4, 5]
    few = read_certificates(certificates_table([0, 1], [0, 1], [1.0, 2.0]))
    assert most_certified(few) == [1, 0]
    assert least_certified(few) == []


def test_the_hardest_say_how_many_classes_they_come_from_and_why_not_all():
    results = digits_results()
    examples = read_certificates(results.certificates)
    assert "from 6 of 10 classes." in strips(results, examples)[0]["text"]
    taken = np.where(examples.label > 1, 0, examples.label)
    few = dataclasses.replace(examples, prediction=taken)
    images = dict.fromkeys(most_certified(few), np.zeros((1, 8, 8), dtype=np.float32))
    results = dataclasses.replace(results, images=images)
    (hardest,) = (each for each in strips(results, few) if each["title"] == "Hardest to change")
    labels = {each["label"] for each in hardest["pictures"]}
    assert f"from {len(labels)} of 10 classes; 8 classes have no right answer" in hardest["text"]


def test_wrong_ones_are_never_among_the_certified():
    examples = read_certificates(certificates_table([0, 1, 2], [0, 0, 0], [0.1, 5.0, 4.0]))
    assert most_certified(examples) == [0]
    assert surest_mistakes(examples) == [1, 2]


def test_closest_breaks_are_ordered_by_distance_over_radius_once_an_image():
    table = certificates_table([0] * 4, [0] * 4, [0.5, 0.1, 0.0, 0.2])
    image = np.zeros(4, dtype="<f4").tobytes()
    rows = [
        attack_row(0, 0.6, robust=False, distance=0.6, attacked=image),
        attack_row(0, 1.0, robust=False, distance=0.55, attacked=image),
        attack_row(1, 0.6, robust=False, distance=0.3, attacked=image),
        attack_row(2, 0.6, robust=False, distance=0.01, attacked=image),
        attack_row(3, 0.6),
    ]
    found = closest_breaks(read_certificates(table), attacks_table(rows))
    assert [each.row for each in found] == [0, 1, 2]
    assert found[0].distance == 0.55
    assert found[0].ratio == pytest.approx(1.1)
    assert found[2].ratio == np.inf


def test_rows_to_show_are_rising_and_each_once():
    results = digits_results()
    rows = rows_to_show(results.certificates, results.attacks)
    assert rows == sorted(set(rows))
    assert 18 <= len(rows) <= 24
    without = rows_to_show(results.certificates, ATTACKS.empty_table())
    assert set(without) <= set(rows)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_holds_the_pixels(channels):
    image = np.random.default_rng(0).random((channels, 5, 7)).astype(np.float32)
    image[0, 0, :2] = (0, 1)
    shown = pixels_of(picture_uri(image))
    expected = np.rint(image * 255).astype(np.uint8)
    assert np.array_equal(shown, expected[0] if channels == 1 else expected.transpose(1, 2, 0))


def test_two_channels_are_shown_as_their_mean():
    image = np.stack([np.zeros((2, 2)), np.ones((2, 2))]).astype(np.float32)
    assert np.array_equal(pixels_of(picture_uri(image)), np.full((2, 2), 128))


def test_a_grey_change_is_orange_where_brighter_blue_where_darker_and_else_transparent():
    original = np.full((1, 1, 3), 0.5, dtype=np.float32)
    attacked = original + np.array([0.04, 0.0, -0.02], dtype=np.float32)
    uri, amplification = change_uri(attacked, original)
    shown = pixels_of(uri).astype(int)
    assert amplification == 20  # 20 · 0.04 fits into 1, 30 · 0.04 does not
    assert shown[0, :, 3].tolist() == [204, 0, 102]
    assert shown[0, 0, 0] > shown[0, 0, 2]
    assert shown[0, 2, 2] > shown[0, 2, 0]


def test_a_colour_change_is_drawn_around_the_middle_grey():
    original = np.full((3, 1, 2), 0.5, dtype=np.float32)
    attacked = original.copy()
    attacked[0, 0, 0] += 0.09
    uri, amplification = change_uri(attacked, original)
    assert amplification == 5  # 5 · 0.09 fits into the half range above the grey
    shown = pixels_of(uri).astype(int)
    assert shown[0, 1].tolist() == [128, 128, 128]
    assert shown[0, 0, 0] > 200
    assert shown[0, 0, 1] == 128


def test_an_attacked_image_of_another_size_is_refused():
    original = np.zeros((1, 2, 2), dtype=np.float32)
    attacked = np.ones(4, dtype="<f4").tobytes()
    assert attacked_image(a_break(attacked), original).shape == (1, 2, 2)
    with pytest.raises(CertifyError, match="has 3 values; accepted are the 4"):
        attacked_image(a_break(attacked[:12]), original)
