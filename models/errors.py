"""Every error that a user can meet, and the exit status that each one ends a command with.

CertifyError             1  the run failed
├── InvalidInputError    2  something given is not acceptable
│   ├── JobError            a job file, or a key of it
│   ├── DataError           images or labels
│   └── ModelError          an ONNX file whose function is not fixed or not bounded
├── GateError            3  all is written, and a gate of the job or a claim of a study fails
├── SoundnessError       4  an attack broke a certificate: every radius of the run is refuted
├── IncompleteRunError   5  run the same command again to continue
├── ClusterError         6  the cluster or the storage cannot be reached
└── VerificationError    7  a certificate does not hold what it says

A message names what was refused, what was found and what is accepted, in one line.
"""


class CertifyError(Exception):
    """Root of the tree: a failure that is not a bug, told to the user in one line."""

    exit_status = 1


class InvalidInputError(CertifyError):
    """Something that the user gave is not acceptable; nothing was started."""

    exit_status = 2


class JobError(InvalidInputError):
    """A job file that cannot be read, or keys of it that cannot be accepted."""


class DataError(InvalidInputError):
    """Images or labels that cannot be accepted."""


class ModelError(InvalidInputError):
    """An ONNX file that cannot be certified, with every offending node."""


class GateError(CertifyError):
    """The report is written, and a gate of the job, or a claim of a study, fails."""

    exit_status = 3


class SoundnessError(CertifyError):
    """An input inside a certified ball has another class: the Lipschitz bound is wrong."""

    exit_status = 4


class IncompleteRunError(CertifyError):
    """The run stopped before its end; the same command with its id continues it."""

    exit_status = 5


class ClusterError(CertifyError):
    """The cluster or the storage cannot be reached."""

    exit_status = 6


class VerificationError(CertifyError):
    """An artefact does not hold what its certificate says."""

    exit_status = 7


def first_line(fault: BaseException) -> str:
    """What a library says of a fault, in one printable line."""
    line = next(iter(str(fault).strip().splitlines()), "") or type(fault).__name__
    return "".join(letter if letter.isprintable() else "?" for letter in line)
