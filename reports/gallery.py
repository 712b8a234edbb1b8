"""The pictures of the page with what is said of each: shown images, and broken ones beside them."""

from typing import Any

from reports.pictures import (
    attacked_image,
    change_uri,
    closest_breaks,
    least_certified,
    most_certified,
    picture_uri,
    surest_mistakes,
)
from reports.results import Results
from reports.rows import Examples
from reports.words import at_budget, count, counted, rounded_down, rounded_up


def strips(results: Results, examples: Examples) -> list[dict[str, Any]]:
    """The rows of pictures: surest, least sure, and sure but wrong."""
    kinds = (
        (
            "Hardest to change",
            _of_which_classes(results, examples),
            most_certified(examples),
        ),
        (
            "Easiest to change",
            "Right answers with the smallest radius: a short change may do, or the bound is loose.",
            least_certified(examples),
        ),
        (
            "Wrong, and firmly so",
            "Wrong answers with the largest radius. A radius says that the answer stays, not that "
            "it is true.",
            surest_mistakes(examples),
        ),
    )
    return [
        {"title": title, "text": text, "pictures": pictures}
        for title, text, rows in kinds
        if (pictures := [_picture(results, examples, row) for row in rows if row in results.images])
    ]


def break_rows(results: Results, examples: Examples) -> list[dict[str, Any]]:
    """Attacked images beside their originals, the closest calls first."""
    rows = []
    for found in closest_breaks(examples, results.all_breaks):
        original = results.images.get(found.row)
        if original is None:
            continue
        attacked = attacked_image(found, original)
        change, amplification = change_uri(attacked, original)
        rows.append(
            {
                "row": found.row,
                "original": picture_uri(original),
                "attacked": picture_uri(attacked),
                "change": change,
                "amplification": amplification,
                "label": results.classes[int(examples.label[found.row])],
                "prediction": results.classes[found.prediction],
                "found": "Smallest change found."
                if found.eps is None
                else f"Found at {at_budget(found.eps)}.",
                "distance": rounded_up(found.distance, decimals=4),
                "radius": rounded_down(found.radius, decimals=4),
                "ratio": rounded_down(found.ratio, decimals=3),
                "inside": found.distance < found.radius,
            }
        )
    return rows


def _of_which_classes(results: Results, examples: Examples) -> str:
    """How many classes the hardest images come from, and how many could not give one."""
    shown = [row for row in most_certified(examples) if row in results.images]
    found, classes = len(set(examples.label[shown].tolist())), len(results.classes)
    text = f"Right answers with the largest radius, from {count(found)} of "
    text += f"{counted(classes, 'class', 'classes')}"
    without = classes - len(set(examples.label[examples.correct].tolist()))
    if without:
        text += f"; {counted(without, 'class has', 'classes have')} no right answer here"
    return text + "."


def _picture(results: Results, examples: Examples, row: int) -> dict[str, Any]:
    label = results.classes[int(examples.label[row])]
    prediction = results.classes[int(examples.prediction[row])]
    radius = rounded_down(float(examples.radius[row]), decimals=2)
    said = f"label {label}"
    if label != prediction:
        said += f", taken for {prediction}"
    return {
        "uri": picture_uri(results.images[row]),
        "alt": f"test image {row}, {said}, proven radius {radius}",
        "label": label,
        "prediction": None if label == prediction else prediction,
        "radius": radius,
    }
