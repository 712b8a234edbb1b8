"""Requests to a server that speaks S3: patient with one that falters, and told in one line.

Credentials come from where all S3 clients find them: the environment, the usual files, the
machine's role.  They are in no message, and nothing here writes them down.
"""

import math
import os
import time
from typing import Any

from models.errors import ClusterError, InvalidInputError, first_line

PATIENCE = "CERTIFY_STORAGE_PATIENCE"
"""Environment variable: seconds for which a server that has answered before may falter."""
PATIENCE_SECONDS = 60.0
FIRST_PATIENCE_SECONDS = 5.0
"""The most for one that has not answered yet: its address may be wrong."""
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.1, 3.0
TIMEOUT_SECONDS = 20
FALTERS = {
    "500", "502", "503", "504", "429", "InternalError", "RequestTimeout", "ServiceUnavailable",
    "SlowDown", "Throttling", "ThrottlingException", "TooManyRequests",
}  # fmt: skip
MISSING = {"404", "NoSuchKey", "NotFound"}
TAKEN = {"412", "409", "PreconditionFailed", "ConditionalRequestConflict"}
REFUSED = {
    "401", "403", "AccessDenied", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken",
    "SignatureDoesNotMatch", "TokenRefreshRequired",
}  # fmt: skip


def patience() -> float:
    """Seconds for which a server may falter: those of the environment, or 60.

    Raises:
        InvalidInputError: If they are no positive number.
    """
    found = os.environ.get(PATIENCE, str(PATIENCE_SECONDS))
    try:
        seconds = float(found)
    except ValueError:
        seconds = math.nan
    if not (seconds > 0 and math.isfinite(seconds)):
        raise InvalidInputError(f"{PATIENCE}: found {found!r}; accepted are seconds above 0")
    return seconds


class TakenError(Exception):
    """A conditional write that came too late: the object is another by now."""


class Requests:
    """Sends requests on behalf of one place."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._client: Any = None
        self._answered = False

    def __getstate__(self) -> dict[str, Any]:
        """A client stays in its process."""
        return {"_place": self._place, "_client": None, "_answered": False}

    def __call__(self, request: str, **told: Any) -> Any:
        """Send a request, again while the server falters.

        Args:
            request: name of a method of the client.
            told: its arguments.

        Returns:
            Its answer; `Body`, where there is one, are bytes.

        Raises:
            FileNotFoundError: If there is no such object.
            TakenError: If a condition does not hold.
            ClusterError: If the server cannot be reached or refuses, with the reason.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        longest = patience() if self._answered else min(patience(), FIRST_PATIENCE_SECONDS)
        wait, began = FIRST_WAIT_SECONDS, time.monotonic()
        while True:
            try:
                answer = getattr(self.client(), request)(**told)
                if "Body" in answer:
                    answer["Body"] = answer["Body"].read()
            except ClientError as fault:
                code = str(fault.response.get("Error", {}).get("Code", ""))
                number = fault.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
                reason = self._judged({code, str(number)}, code or str(number), fault)
            except BotoCoreError as fault:
                reason = self._unreachable(fault)
            else:
                self._answered = True
                return answer
            if time.monotonic() - began + wait > longest:
                raise ClusterError(f"{self._place}: {reason}")
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)

    def client(self) -> Any:
        """The client of this process."""
        if self._client is None:
            self._client = _client(self._place)
        return self._client

    def _judged(self, codes: set[str], code: str, fault: Exception) -> str:
        """Raise what another try does not change; else say why it falters."""
        if "NoSuchBucket" in codes:
            raise ClusterError(f"{self._place}: there is no such bucket") from None
        if codes & MISSING:
            raise FileNotFoundError(f"{self._place}: nothing there") from None
        if codes & TAKEN:
            raise TakenError from None
        if codes & REFUSED:
            raise ClusterError(
                f"{self._place}: the credentials are refused ({code}); accepted are such as may "
                "read, write, list and delete there"
            ) from None
        if codes & FALTERS:
            return f"the server falters ({code})"
        raise ClusterError(f"{self._place}: refused ({code}): {first_line(fault)}") from None

    def _unreachable(self, fault: Exception) -> str:
        """Raise where credentials are missing; else say why nothing answers."""
        from botocore import exceptions

        kinds = (
            exceptions.NoCredentialsError,
            exceptions.PartialCredentialsError,
            exceptions.CredentialRetrievalError,
            exceptions.ProfileNotFound,
        )
        if isinstance(fault, kinds):
            raise ClusterError(
                f"{self._place}: no credentials; accepted are those of the environment, as "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or of ~/.aws/credentials"
            ) from None
        if isinstance(fault, exceptions.ParamValidationError):
            raise InvalidInputError(f"{self._place}: {' '.join(str(fault).split())}") from None
        return f"the server cannot be reached ({type(fault).__name__})"


def _client(place: str) -> Any:
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise InvalidInputError(
            f"{place}: the package boto3 is missing; pip install 'certify-robustness[s3]'"
        ) from None
    config = Config(
        connect_timeout=TIMEOUT_SECONDS,
        read_timeout=TIMEOUT_SECONDS,
        retries={"total_max_attempts": 1, "mode": "standard"},
    )
    try:
        session = boto3.session.Session()
        region = session.region_name or "us-east-1"
        return session.client("s3", config=config, region_name=region)
    except (BotoCoreError, ValueError) as fault:
        raise ClusterError(f"{place}: {first_line(fault)}") from None
