"""The first screen in words: what was certified, against what, and whether anybody broke it."""

from pathlib import PurePath
from typing import Any

import numpy as np

from reports.results import Results
from reports.rows import Examples, attacked_at, fates_at
from reports.words import (
    at_budget,
    budget_in_pixels,
    count,
    counted,
    counted_first,
    joined,
    percent,
    rounded_down,
    rounded_up,
)

SOURCES = {"digits": "the scikit-learn handwritten digits", "fashion-mnist": "Fashion-MNIST"}
ARCHITECTURES = {
    "mlp": "a network of orthogonal layers in one ONNX file",
    "linear": "a single linear layer in one ONNX file",
    "cnn": "a network of orthogonal convolutions and layers in one ONNX file",
    "lipnext": "a network of shifts and orthogonal 1×1 convolutions in one ONNX file",
    "lipresnet": "a network of 1-Lipschitz residual layers in one ONNX file",
    "onnx": "a foreign ONNX file, which was trained elsewhere",
}


def headline_eps(summary: dict[str, Any]) -> int:
    """Place of the ε that the headline speaks of: the middle one, the larger of two middles."""
    return len(summary["eps"]) // 2


def headline(summary: dict[str, Any]) -> dict[str, str]:
    """The finding in one sentence: a figure, and what it is the share of."""
    place = headline_eps(summary)
    share = summary["certified_accuracy"][place]
    images = counted(summary["test_examples"], "test image")
    claim = (
        "were claimed, wrongly, to be" if summary["verdict"] == "refuted" else "are proven to stay"
    )
    return {
        "figure": percent(share),
        "rest": (
            f"of {images} {claim} correctly classified under every change of up to "
            f"{at_budget(summary['eps'][place])}."
        ),
    }


def what_was_certified(results: Results) -> str:
    """The model, the data, and what a radius is."""
    proven = "claimed" if results.summary["verdict"] == "refuted" else "proven"
    shape = image_shape(results)
    kind = ""
    if shape:
        colour = {1: "grey ", 3: "colour "}.get(shape[0], "")
        kind = f"{colour}images of {shape[2]} × {shape[1]} pixels, "
    architecture = str(results.job.get("model", {}).get("architecture", ""))
    network = ARCHITECTURES.get(architecture, "a classifier in one ONNX file")
    return (
        f"The model “{results.job['name']}”, {network}, on the "
        f"{counted(results.summary['test_examples'], 'test image')} of {data_name(results.job)} "
        f"({kind}{counted(len(results.classes), 'class', 'classes')}). "
        f"{_preprocessing(results.job)}"
        f"For each image a radius was {proven}: no change of its pixels that is shorter can change "
        "the model’s answer. That speaks of all such changes, not of some that were tried."
    )


def _preprocessing(job: dict[str, Any]) -> str:
    """What stands in front of a foreign file, and that it is inside the proof."""
    model = job.get("model", {})
    shown = [
        f"{name} {', '.join(f'{value:g}' for value in model[name])}"
        for name in ("mean", "std")
        if model.get(name)
    ]
    if not shown:
        return ""
    return f"Its normalisation of the pixels ({joined(shown)}) is part of what was certified. "


def against_which_changes(results: Results) -> str:
    """ε in plain words, in pixels of these images."""
    eps = results.summary["eps"][headline_eps(results.summary)]
    text = (
        "Any change of the pixel values, measured by its L2 length: the square root of the summed "
        "squares of all changes, where a pixel runs from 0 (black) to 1 (white). ε is the longest "
        "change that is allowed."
    )
    shape = image_shape(results)
    if shape:
        bought = budget_in_pixels(eps, values=int(np.prod(shape)), grey=shape[0] == 1)
        text += f" In these images {at_budget(eps)} can move {bought}, or anything in between."
    return text


def did_an_attack_get_through(results: Results, examples: Examples) -> str:
    """What the attacks tried, what they broke, and what that says of the certificates."""
    summary = results.summary
    if not summary["attacked_examples"]:
        return "Not known: no attack has run to its end at every ε yet. The radii are untried."
    broken, inside = [], set()
    for eps in summary["eps"]:
        attacked = attacked_at(results.attacks, eps, examples=len(examples))
        fates = fates_at(examples, attacked, eps)
        broken.append(int(fates.broken.sum() + fates.refuted.sum()))
        inside.update(attacked.row[fates.refuted].tolist())
    places = [f"{count(n)} at {at_budget(e)}" for n, e in zip(broken, summary["eps"], strict=True)]
    images = counted(summary["attacked_examples"], "image")
    text = _attacks_at_radius(results)
    text += f"{_attacks(summary)} tried to change the answer on {images}, at each ε"
    text += f", and did so on {joined(places)}. " if any(broken) else ", and never did. "
    if any(summary["left_alone"]):
        text += "Of the answers that are proven to stay there, only a sample was tried. "
    if any(summary["rivals_left_out"]):
        text += "Attacks that aim at one class after another left out classes proven out of reach. "
    if summary["verdict"] == "refuted":
        where = f"On {counted(len(inside), 'image')}" if inside else "On an image of another attack"
        return text + f"{where} the change was shorter than the radius that was claimed."
    if not any(broken):
        return text + "That proves nothing by itself; the radii do."
    return text + (
        "None of these changes was shorter than the radius proven for its image: no certificate "
        "was broken."
    )


def data_name(job: dict[str, Any]) -> str:
    """The data as a person would call it; of a path, its last part alone."""
    data = job.get("data", {})
    source = str(data.get("source", "data"))
    if source in SOURCES:
        return SOURCES[source]
    name = PurePath(str(data.get("path", ""))).name
    return f"“{name}”" if name else f"the {source} given"


def image_shape(results: Results) -> tuple[int, int, int] | None:
    """Channels, height and width of the images, where there is one to look at."""
    for row in sorted(results.images):
        channels, height, width = results.images[row].shape
        return channels, height, width
    return None


def worked_example(results: Results, examples: Examples, rows: list[int]) -> str | None:
    """One radius by hand: margin over bound, on an image whose runner-up is the limiting rival."""
    for row in rows:
        predicted, rival = int(examples.prediction[row]), int(examples.rival[row])
        bound = results.bounds["pair_bounds"][predicted][rival]
        radius, margin = float(examples.radius[row]), float(examples.margin[row])
        if bound and radius > 0 and abs(margin / bound - radius) <= 1e-4 * radius:
            names = (results.classes[predicted], results.classes[rival])
            lead, speed = rounded_down(margin, decimals=4), rounded_up(bound, decimals=4)
            quotient = rounded_down(float(lead) / float(speed), decimals=3)
            return (
                f"One radius by hand: on image {count(row)} the logit of “{names[0]}” leads that "
                f"of “{names[1]}” by {lead}. A change of length 1 can shrink this lead by at most "
                f"{speed}. So the answer stays for every change shorter than {lead} ÷ {speed} = "
                f"{quotient}."
            )
    return None


def _attacks_at_radius(results: Results) -> str:
    """What became of the attacks inside each image's own radius; nothing where there were none."""
    attacked = counted(results.summary["radius_attacked_examples"], "image")
    if not len(results.radius_attacks):
        return ""
    broken = len(results.radius_attacks) - results.radius_attacks["attacked"].null_count
    result = f"{count(broken)} gave way" if broken else "none gave way"
    return f"Each of {attacked} was attacked inside its own radius, and {result}. "


def _attacks(summary: dict[str, Any]) -> str:
    names = summary["attacks"]
    return f"{counted_first(len(names), 'attack')} ({', '.join(names)})" if names else "Attacks"
