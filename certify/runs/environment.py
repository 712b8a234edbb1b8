"""What a result was made with: versions and the kind of machine, and no more of it than that."""

import importlib.metadata
import platform

from workers.cluster import usable_cpus

PACKAGES = (
    "certify-robustness",
    "torch",
    "ray",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxscript",
    "pyautoattack",
    "numpy",
    "pyarrow",
    "pydantic",
    "scikit-learn",
    "matplotlib",
)


def describe_environment() -> dict[str, object]:
    """Versions of the packages that decide a result, Python, system and processors."""
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "processors": usable_cpus(),
        "packages": package_versions(),
    }


def package_versions() -> dict[str, str]:
    """Installed versions, by package; those that are not installed are left out."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
