"""Every claim of `certificate.json` and of `bounds.json`, closed: what is not here is refused.

A key that no audit knows could claim anything, a number written twice can be read in two ways, and
a NaN passes comparisons that are put the wrong way round; so none of them is read at all.
"""

import json
import math
from typing import Annotated, Any, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.certificate_format import DOMAIN, FORMAT, NORM, SEMANTICS
from models.errors import VerificationError

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Amount = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
Matrix = list[list[Amount]]
LARGEST_INTEGER = 2**53


class Claims(BaseModel):
    """A document, or a part of one."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class SealedRadius(Claims):
    """What was measured of the sealed file's output `radius`, in input units."""

    slack: Amount
    largest_shortfall: Amount


class Counts(Claims):
    """Rows of the table at one ε."""

    eps: Annotated[float, Field(gt=0)]
    examples: Count
    correct: Count
    certified: Count
    certified_float32: Count


class Certificate(Claims):
    """`certificate.json`."""

    format: str
    name: str
    model_sha256: Sha256
    program_sha256: Sha256
    data_sha256: Sha256
    job_sha256: Sha256
    certificates_sha256: Sha256
    bounds_sha256: Sha256
    source_sha256: Sha256 | None = None
    norm: str
    domain: str
    input_shape: Annotated[list[Annotated[int, Field(gt=0)]], Field(min_length=1)]
    classes: Annotated[list[str], Field(min_length=2)]
    semantics: dict[str, str]
    lipschitz_bound: Amount
    feature_bound: Amount
    pair_bounds: Matrix
    refused_float32: str | None
    assumptions: list[str]
    sealed_radius: SealedRadius
    counts: list[Counts]


class GapError(Claims):
    """A and B for each two classes."""

    constant: Matrix
    slope: Matrix


class OperatorRow(Claims):
    """One operator; `method` says how its maker came to the factor, which an audit never asks."""

    name: str
    operator: str
    shape: str
    method: str
    factor: Amount
    bound: Amount


class Proof(Claims):
    """`bounds.json`."""

    lipschitz_bound: Amount
    feature_bound: Amount
    pair_bounds: Matrix
    float64: GapError
    float32: GapError | None
    refused_float32: str | None
    operators: list[OperatorRow]
    input_size: Count
    program_sha256: Sha256
    assumptions: list[str]


Document = TypeVar("Document", bound=Claims)


def read_object(content: bytes, name: str) -> dict[str, Any]:
    """The JSON object of a document, every number of it finite, every key of it there once.

    Raises:
        VerificationError: If it is none.
    """

    def refuse(found: str) -> NoReturn:
        raise VerificationError(f"files: {name} holds {found[:60]}; accepted are finite numbers")

    def real(text: str) -> float:
        return value if math.isfinite(value := float(text)) else refuse(text)

    def integer(text: str) -> int:
        small = len(text) <= len(str(LARGEST_INTEGER)) and abs(int(text)) <= LARGEST_INTEGER
        return int(text) if small else refuse(text)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        if len(set(keys)) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise VerificationError(f"files: {name} holds the key {twice!r} twice")
        return dict(pairs)

    try:
        found = json.loads(
            content,
            parse_float=real,
            parse_int=integer,
            parse_constant=refuse,
            object_pairs_hook=once,
        )
    except (ValueError, RecursionError):
        raise VerificationError(f"files: {name} is no JSON") from None
    if not isinstance(found, dict):
        raise VerificationError(f"files: {name} is no JSON object")
    return found


def check_claims(found: dict[str, Any], kind: type[Document], name: str) -> Document:
    """The claims of a document.

    Raises:
        VerificationError: Naming the first key that is missing, unknown or of another kind.
    """
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise VerificationError(f"files: {name}: {place}: {fault['msg']}") from None


def check_words(certificate: Certificate) -> None:
    """What the numbers mean is what this format means by them.

    Raises:
        VerificationError: If the certificate says anything else.
    """
    for key, found, accepted in (
        ("format", certificate.format, FORMAT),
        ("norm", certificate.norm, NORM),
        ("domain", certificate.domain, DOMAIN),
        ("semantics", certificate.semantics, SEMANTICS),
    ):
        if found != accepted:
            raise VerificationError(f"files: {key} of certificate.json is not what is audited here")
