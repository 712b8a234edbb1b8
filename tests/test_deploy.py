"""The files in `deploy/` hold together with the code, as far as that shows without an engine."""

import inspect
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer.main
import yaml

from certify.cli import app
from certify.commands.cluster import start
from certify.jobs.job import check_job
from workers.ray_settings import USUAL

ROOT = Path(__file__).parent.parent
FILES = ("Containerfile", "compose.yaml", "rayjob.yaml", "raycluster.yaml", "README.md")
PINNED = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
)
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
CLUSTER_KEYS = {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"}
JOB_KEYS = {
    "entrypoint", "backoffLimit", "submissionMode", "shutdownAfterJobFinishes",
    "ttlSecondsAfterFinished", "activeDeadlineSeconds", "rayClusterSpec",
}  # fmt: skip
GROUP_KEYS = {
    "groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template",
}  # fmt: skip
TEXTS = {name: (ROOT / "deploy" / name).read_text() for name in FILES}


def defaults():
    found = inspect.signature(start).parameters
    return {"job server": found["port"].default, "join": found["join_port"].default}


def container_faults(container, *, where):
    """What is wrong with a container of a pod."""
    settings = {entry["name"]: entry.get("value") for entry in container.get("env", ())}
    if settings != USUAL:
        yield f"{where}: other settings of Ray than the code's"
    if container["image"] != f"certify:{VERSION}":
        yield f"{where}: another image"
    security = container.get("securityContext", {})
    if not security.get("runAsNonRoot") or security.get("allowPrivilegeEscalation") is not False:
        yield f"{where}: may become root"
    if not {"cpu", "memory"} <= container["resources"]["limits"].keys():
        yield f"{where}: no limits"


def cluster_faults(spec):
    if spec.keys() != CLUSTER_KEYS:
        yield "a cluster has other keys"
    if spec.get("authOptions") != {"mode": "token", "secretName": "certify-token"}:
        yield "a cluster without a token"
    if str(spec["rayVersion"]) != PINNED["ray"]:
        yield "another version of Ray"
    head, workers = spec["headGroupSpec"], spec["workerGroupSpecs"]
    for group in (head, *workers):
        if not group.keys() <= GROUP_KEYS:
            yield "a group has unknown keys"
        for container in group["template"]["spec"]["containers"]:
            yield from container_faults(container, where=container["name"])
    (first, *_) = head["template"]["spec"]["containers"]
    if {port["containerPort"] for port in first["ports"]} != set(defaults().values()):
        yield "other ports than the code's"


def kubernetes_faults(texts):
    for name in ("rayjob.yaml", "raycluster.yaml"):
        for document in yaml.safe_load_all(texts[name]):
            match document["kind"]:
                case "ConfigMap":
                    job = tomllib.loads(document["data"]["job.toml"])
                    check_job(job, place=name)
                case "RayCluster":
                    yield from cluster_faults(document["spec"])
                case "RayJob":
                    if not document["spec"].keys() <= JOB_KEYS:
                        yield "a job has unknown keys"
                    yield from cluster_faults(document["spec"]["rayClusterSpec"])
                case other:
                    yield f"an unknown kind {other}"


def compose_faults(texts):
    found = yaml.safe_load(texts["compose.yaml"])
    for name, service in found["services"].items():
        settings = dict(service["environment"])
        token = settings.pop("RAY_AUTH_MODE", None), settings.pop("RAY_AUTH_TOKEN_PATH", None)
        if token != ("token", "/run/secrets/token") or service["secrets"] != ["token"]:
            yield f"{name}: no token"
        if settings != USUAL:
            yield f"{name}: other settings of Ray than the code's"
        if service["image"] != f"certify:{VERSION}":
            yield f"{name}: another image"
        for port in service.get("ports", ()):
            if not str(port).startswith("127.0.0.1:"):
                yield f"{name}: open to a network"
    if found["secrets"] != {"token": {"file": "./token"}}:
        yield "a token that is no file"
    if found["services"]["worker"]["deploy"]["replicas"] != 2:
        yield "not two workers"
    head = shlex.split(found["services"]["head"]["command"])
    wanted = f"--port={defaults()['join']}", f"--dashboard-port={defaults()['job server']}"
    if not {*wanted, "--head", "--block"} <= set(head):
        yield "a head on other ports than the code's"
    if f"--address=head:{defaults()['join']}" not in found["services"]["worker"]["command"]:
        yield "workers that join elsewhere"


def image_faults(texts):
    lines = [line for line in texts["Containerfile"].splitlines() if not line.startswith("#")]
    text = "\n".join(lines)
    python = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    base = re.findall(r"^FROM (\S+)$", text, re.M)
    if len(base) != 1 or not re.fullmatch(rf"python:{python.removeprefix('>=')}-[a-z-]+", base[0]):
        yield "a base that is not pinned to the oldest Python"
    users = re.findall(r"^USER (\S+)$", text, re.M)
    if not users or users[-1] in ("root", "0"):
        yield "an image that runs as root"
    if "-c constraints.txt" not in text or "--no-cache-dir" not in text:
        yield "packages that are not pinned, or kept twice"
    if re.search(r"^(ADD|MAINTAINER)\b|\bsudo\b|\blatest\b|^COPY \. ", text, re.M):
        yield "an instruction that copies more than it names"
    copied = {word for line in re.findall(r"^COPY (.+)$", text, re.M) for word in line.split()[:-1]}
    let_in = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.M))
    if copied != let_in or not all((ROOT / name).exists() for name in copied):
        yield "files that the build does not see"


def secret_faults(texts):
    for name, text in texts.items():
        if re.search(r"\b[0-9a-f]{32,}\b|\bAKIA[0-9A-Z]{16}\b", text):
            yield f"{name}: what looks like a secret"
        if re.search(r"RAY_AUTH_TOKEN\b|AWS_SECRET_ACCESS_KEY|auth_token=[^\"]", text):
            yield f"{name}: a token or key in words"
        if re.search(r"RAY_AUTH_MODE\W+(value\W+)?disabled", text):
            yield f"{name}: an open cluster"


def command_faults(texts):
    commands = typer.main.get_command(app).commands
    for name, text in texts.items():
        joined = re.sub(r"\\\n|\n\s+(?=--)", " ", text)
        for line in re.findall(r"\bcertify ((?:submit|list|status|resume)\b[^\n]*)", joined):
            verb, *words = line.split("#")[0].split()
            known = {option for each in commands[verb].params for option in each.opts}
            if not {word for word in words if word.startswith("--")} <= known:
                yield f"{name}: certify {verb} has no such option"
    if "**None of this has been run**" not in texts["README.md"]:
        yield "no word of what was not run"
    for name in FILES[:-1]:
        if name not in texts["README.md"] and name != "compose.yaml":
            yield f"{name} is not explained"


CHECKS = (
    image_faults, compose_faults, kubernetes_faults, secret_faults, command_faults,
)  # fmt: skip


def faults(texts):
    return [fault for check in CHECKS for fault in check(texts)]


def test_the_files_hold_together():
    assert faults(TEXTS) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "fault"),
    [
        ("Containerfile", "USER certify", "USER root", "runs as root"),
        ("Containerfile", "python:3.11-slim-bookworm", "python:latest", "not pinned"),
        ("Containerfile", "-c constraints.txt ", "", "not pinned, or kept"),
        ("Containerfile", "COPY models models\n", "", "does not see"),
        ("Containerfile", "COPY reports reports", "COPY . .", "more than it names"),
        ("compose.yaml", "127.0.0.1:8265:8265", "8265:8265", "open to a network"),
        ("compose.yaml", "RAY_AUTH_MODE: token", "RAY_AUTH_MODE: disabled", "no token"),
        ("compose.yaml", "--dashboard-port=8265", "--dashboard-port=8266", "other ports"),
        ("compose.yaml", "head:6379", "head:6380", "join elsewhere"),
        ("compose.yaml", "replicas: 2", "replicas: 1", "not two workers"),
        ("compose.yaml", 'keepalive_time_ms: "10000"', 'keepalive_time_ms: "1"', "other settings"),
        ("compose.yaml", "file: ./token", "environment: TOKEN", "no file"),
        ("rayjob.yaml", "mode: token", "mode: disabled", "without a token"),
        ("rayjob.yaml", "rayVersion: 2.60.0", "rayVersion: 2.59.0", "another version"),
        ("rayjob.yaml", "  backoffLimit: 2", "  backOffLimit: 2", "unknown keys"),
        ("rayjob.yaml", "--address http", "--adress http", "no such option"),
        ("raycluster.yaml", "containerPort: 8265", "containerPort: 8000", "other ports"),
        ("raycluster.yaml", "replicas: 2", "replica: 2", "unknown keys"),
        ("raycluster.yaml", "runAsNonRoot: true", "runAsNonRoot: false", "may become root"),
        ("raycluster.yaml", "certify:0.1.0", "certify:latest", "another image"),
        ("raycluster.yaml", "secretName: certify-token", "token: " + "0f" * 16, "a secret"),
        ("raycluster.yaml", "name: RAY_worker_niceness", "name: RAY_AUTH_TOKEN", "in words"),
        ("README.md", "**None of this has been run**", "All of it works", "not run"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_found(name, old, new, fault):
    assert old in TEXTS[name]
    found = faults(TEXTS | {name: TEXTS[name].replace(old, new, 1)})
    assert any(fault in each for each in found), found
