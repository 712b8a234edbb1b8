import pytest

from certify.jobs.gates import parse_gate

SUMMARY = {
    "clean_accuracy": 0.9,
    "eps": [36 / 255, 0.5],
    "certified_accuracy": [0.8, 0.7],
    "robust_accuracy": [0.85, None],
    "mean_certified_radius": 0.6,
    "lipschitz_bound": 1.0,
    "violations": 0,
}


@pytest.mark.parametrize(
    ("text", "found", "passed"),
    [
        ("clean_accuracy >= 0.9", 0.9, True),
        ("clean_accuracy > 0.9", 0.9, False),
        ("certified_accuracy@36/255>=0.8", 0.8, True),
        ("certified_accuracy@0.5 >= 0.71", 0.7, False),
        ("robust_accuracy@0.5 >= 0.1", None, False),
        ("violations == 0", 0, True),
        ("mean_certified_radius < 0.6", 0.6, False),
        ("lipschitz_bound <= 1.001", 1.0, True),
    ],
)
def test_a_gate_compares_what_was_found(text, found, passed):
    assert parse_gate(text).judge(SUMMARY) == {"gate": text, "found": found, "passed": passed}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "clean_accuracy",
        "clean_accuracy => 1",
        "clean_accuracy >= much",
        "clean_accuracy@0.5 >= 1",
        "certified_accuracy >= 1",
        "certified_accuracy@0 >= 1",
        "__import__('os') >= 1",
        "seconds >= 1",
        "clean_accuracy >= 95",
        "certified_accuracy@0.5 >= -0.1",
        "robust_accuracy@0.5 <= nan",
        "lipschitz_bound <= nan",
        "violations < inf",
    ],
)
def test_a_gate_of_another_form_is_refused(text):
    with pytest.raises(ValueError, match="accepted is"):
        parse_gate(text)
