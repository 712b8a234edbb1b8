"""Numbers in words: percentages that never flatter, budgets, durations, and a job as TOML."""

import json
import math
import re
from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from fractions import Fraction
from typing import Any

NO_BREAK = "\N{NO-BREAK SPACE}"
SMALL = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")
JOB_ORDER = (
    *("name", "seed", "gates"),
    *("data", "model", "train", "certify", "attack", "resources"),
)
HUGE = 1e12
"""From here on a number is printed as a power of ten."""
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def percent(share: float | None) -> str:
    """A fraction as a percentage of one decimal; all and none are said of all and none alone."""
    if share is None or math.isnan(share):
        return "–"
    if 0 < share < 0.0005:
        return f"<{NO_BREAK}0.1{NO_BREAK}%"
    if 0.9995 <= share < 1:
        return f">{NO_BREAK}99.9{NO_BREAK}%"
    return f"{100 * share:.1f}{NO_BREAK}%"


def percent_range(least: float, most: float) -> str:
    """From one share to another inside a sentence, said once where both read the same."""
    return " to ".join(dict.fromkeys(percent_in_words(share) for share in (least, most)))


def percent_in_words(share: float) -> str:
    """A percentage inside a sentence: "more than 99.9 %" has no sign to stumble over."""
    return percent(share).replace("<", "less than").replace(">", "more than")


def budget(eps: float) -> str:
    """An ε as a person would write it: a short decimal, or a fraction of 255."""
    if len(repr(eps)) <= 6:
        return f"{eps:g}"
    steps = eps * 255
    if abs(steps - round(steps)) < 1e-9:
        return f"{round(steps)}/255"
    return f"{eps:.4g}"


def exact_budget(eps: float) -> str:
    """An ε as a job file may hold it: what is read again is the same number."""
    short = budget(eps)
    return short if float(Fraction(short)) == eps else repr(eps)


def at_budget(eps: float) -> str:
    """An ε with its name, which no line breaks: "ε = 0.5"."""
    return f"ε{NO_BREAK}={NO_BREAK}{budget(eps)}"


def rounded_down(value: float, *, decimals: int) -> str:
    """A radius in print: never more than was proven; small ones keep two digits."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "–"
    if value >= HUGE:
        return _scientific(value, decimals, ROUND_FLOOR)
    if 0 < value < 10.0 ** (1 - decimals):
        decimals = 1 - math.floor(math.log10(value))
    return f"{math.floor(value * 10**decimals) / 10**decimals:.{decimals}f}"


def rounded_up(value: float | None, *, decimals: int) -> str:
    """A bound or a distance in print: never less than was proven; nothing is a dash."""
    if value is None or not math.isfinite(value):
        return "∞" if value is not None and value > 0 else "–"
    if value >= HUGE:
        return _scientific(value, decimals, ROUND_CEILING)
    if value == round(value):
        return f"{value:.0f}"
    if 0 < value < 10.0 ** (1 - decimals):
        decimals = 1 - math.floor(math.log10(value))
    return f"{math.ceil(value * 10**decimals) / 10**decimals:.{decimals}f}"


def _scientific(value: float, decimals: int, rounding: str) -> str:
    """A huge number to so many digits behind the first, such as 1.25e+37."""
    exact = Context(prec=decimals + 1, rounding=rounding).create_decimal(value)
    return f"{exact.normalize():e}"


def number(value: float | None, *, digits: int = 4) -> str:
    """A number to some significant digits; nothing is a dash."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    return f"{value:.{digits}g}"


def measured(found: float | None, *, expected: str) -> str:
    """What was found, beside what was expected: what has an upper limit is never told smaller."""
    if expected.startswith("at most"):
        return rounded_up(found, decimals=8)
    return number(found, digits=6)


def count(value: int) -> str:
    """A whole number with its thousands apart."""
    return f"{value:,}"


def counted(value: int, noun: str, plural: str = "") -> str:
    """A count and its noun: "1 image", "2,000 images"."""
    return f"{count(value)} {noun if value == 1 else plural or noun + 's'}"


def counted_first(value: int, noun: str) -> str:
    """A count and its noun at the head of a sentence."""
    return (
        f"{SMALL[value]} {noun}{'' if value == 1 else 's'}" if value < 11 else counted(value, noun)
    )


def duration(seconds: float) -> str:
    """A time as a person would say it."""
    if seconds < 0.05:
        return f"<{NO_BREAK}0.1 s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def joined(parts: Sequence[str]) -> str:
    """Parts as a list in a sentence."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def budget_in_pixels(eps: float, *, values: int, grey: bool) -> str:
    """What a budget of `eps` buys in an image of so many values: concentrated, and spread out."""
    one = "one pixel" if grey else "one colour value of one pixel"
    if eps < 1:
        alone = f"{one} by {percent(eps)} of its range"
    else:
        full = math.floor(eps**2)
        many = f"{count(full)} {'pixels' if grey else 'colour values'}" if full > 1 else one
        alone = f"{many} from one end of the range to the other"
    spread = percent(eps / math.sqrt(values))
    return f"{alone}, or all {count(values)} {'pixels' if grey else 'values'} by {spread} each"


def toml(job: dict[str, Any]) -> str:
    """A job as TOML in the order of its stages; keys without a value are left out."""
    ordered = dict(sorted(job.items(), key=lambda item: _place(item[0])))
    lines = [_line(key, value) for key, value in ordered.items() if not isinstance(value, dict)]
    for name, table in ordered.items():
        if isinstance(table, dict):
            lines += ["", f"[{_key(name)}]", *(_line(*item) for item in table.items())]
    return "\n".join(line for line in lines if line is not None).strip() + "\n"


def _place(key: str) -> int:
    return JOB_ORDER.index(key) if key in JOB_ORDER else len(JOB_ORDER)


def _line(key: str, value: Any) -> str | None:
    if value is None:
        return None
    line = f"{_key(key)} = {_value(value)}"
    if len(line) > 80 and isinstance(value, list | tuple):
        inside = "".join(f"    {_value(each)},\n" for each in value)
        line = f"{_key(key)} = [\n{inside}]"
    return line


def _key(key: str) -> str:
    return key if BARE_KEY.fullmatch(key) else json.dumps(key)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        ordered = sorted(value.items(), key=lambda item: _place(item[0]))
        inside = ", ".join(f"{_key(k)} = {_value(v)}" for k, v in ordered if v is not None)
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(each) for each in value)}]"
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)  # inf and nan are words of TOML too
    return json.dumps(value, ensure_ascii=False)
