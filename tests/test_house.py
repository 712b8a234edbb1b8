"""The house itself: floors, what loads what, what the README promises, what no file may hold."""

import ast
import itertools
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer.main

from certify.cli import app
from certify.jobs.job import load_job
from certify.jobs.sweep import Sweep, load_plan

ROOT = Path(__file__).parent.parent
ROOMS = ("certify", "workers", "models", "reports")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
README = (ROOT / "README.md").read_text()
GUIDES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def loaded_by(*arguments, modules):
    """Which of some modules a command loads."""
    probe = (
        "import sys\n"
        f"sys.argv = {['certify', *arguments]!r}\n"
        "from certify.cli import main\n"
        "try:\n    main()\nexcept SystemExit: pass\n"
        f"print('LOADED', [name for name in {modules!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stdout.rsplit("LOADED ", 1)[1].strip()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["submit", "--help"],
        ["evaluate", "--help"],
        ["submit", "none.toml"],
        ["list"],
        ["status"],
        ["logs", "none"],
        ["study", "list"],
    ],
)
def test_a_command_that_computes_nothing_loads_neither_torch_nor_ray(arguments):
    assert loaded_by(*arguments, modules=("torch", "ray", "matplotlib", "onnx")) == "[]"


def test_a_dry_run_loads_no_ray():
    loaded = loaded_by("submit", "examples/digits.toml", "--dry-run", modules=("ray",))
    assert loaded == "[]"


def test_reports_load_neither_torch_nor_ray():
    probe = "import sys, reports.page; print([m for m in ('torch', 'ray') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def commands_in(text):
    """The command lines of a page, without their remarks."""
    return re.findall(r"^(?:\.venv/bin/)?certify (.+?)(?:\s+#.*)?$", text, flags=re.M)


def test_the_readme_names_every_command():
    commands = typer.main.get_command(app).commands
    assert {line.split()[0] for line in commands_in(README)} == set(commands)


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_every_command_of_a_page_exists_with_its_options(page):
    commands = typer.main.get_command(app).commands
    for line in commands_in(page.read_text()):
        name, *arguments = line.split()
        command = commands[name]
        if hasattr(command, "commands"):
            command, *arguments = command.commands[arguments[0]], *arguments[1:]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in arguments if word.startswith("--")} <= known, line


def test_the_job_that_is_explained_is_accepted(tmp_path):
    page = (ROOT / "docs" / "jobs.md").read_text()
    (block,) = re.findall(r"```toml\n(.*?)```", page, flags=re.S)
    (tmp_path / "job.toml").write_text(block)
    explained = load_job(tmp_path / "job.toml")
    example = load_job(ROOT / "examples" / "fashion-mnist.toml")
    assert explained.model_copy(update={"gates": ()}) == example.model_copy(update={"gates": ()})


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.toml")), ids=lambda p: p.name)
def test_every_example_is_accepted(path):
    plan = load_plan(path)
    job = plan.example if isinstance(plan, Sweep) else plan
    assert job.name == path.stem


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page):
    for name in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        assert (page.parent / name).is_file(), name


def test_no_source_is_hidden_from_git_and_the_linter():
    asked = "\0".join(str(path) for path in SOURCES)
    hidden = subprocess.run(
        ["git", "check-ignore", "--no-index", "-z", "--stdin"],
        input=asked, capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert hidden.stdout == ""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_one_idea_of_at_most_250_lines_under_a_header(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 250
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    assert not any(isinstance(node, ast.Assert) for node in ast.walk(tree))


def test_the_word_cuda_stays_in_workers():
    users = [path for path in SOURCES if "cuda" in path.read_text().lower()]
    assert {path.relative_to(ROOT).parts[0] for path in users} <= {"workers"}


def test_ray_is_named_in_workers_alone():
    importers = [
        path for path in SOURCES if re.search(r"^\s*(import|from) ray\b", path.read_text(), re.M)
    ]
    assert {path.relative_to(ROOT).parts[0] for path in importers} == {"workers"}


def test_no_file_names_a_machine_or_a_registry():
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], capture_output=True, text=True, check=False, cwd=ROOT
    ).stdout.split("\0")
    forbidden = re.compile(rb"/home/|/root/|/work/|pypi\.|pythonhosted|debian\.org|npmjs")
    for name in filter(None, tracked):
        path = ROOT / name
        if path.is_file() and path.name != Path(__file__).name:
            assert not forbidden.search(path.read_bytes()), name


def test_the_pinned_versions_cover_every_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *itertools.chain.from_iterable(extras)]
    pinned = {
        line.split("==")[0].lower()
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    names = {re.split(r"[\[;<>= ]", requirement)[0].lower() for requirement in wanted}
    assert names <= pinned
