"""`certify study`: what it prints and writes, and how it ends."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest

from certify.checking import studies
from models.errors import GateError
from models.studies import capacity, front
from models.studies.registry import STUDIES, study_of
from reports.studies import index_page, standalone_figure, study_page
from tests.whole_runs import blobs
from workers.studying import carry_out, room_for


def certify(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "certify", "study", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def told(_done, _total):
    pass


def found(name="capacity", seed=0):
    return carry_out(study_of(name), quick=True, seed=seed, advance=told, images=None)


def test_a_study_writes_numbers_a_figure_and_a_page(tmp_path):
    done = certify("capacity", "--quick", "--out", "here", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "here/capacity/study.html\n"
    assert "met" in done.stderr
    folder = tmp_path / "here" / "capacity"
    stored = json.loads((folder / "study.json").read_text())
    assert stored["borne_out"] is True
    assert (folder / "study.html").read_text() == study_page(stored)
    assert (folder / "figure.svg").read_text() == standalone_figure(stored)


def test_json_is_the_only_thing_on_stdout(tmp_path):
    listed = certify("list", "--json", cwd=tmp_path)
    names = [each["name"] for each in json.loads(listed.stdout)]
    assert names == [study.name for study in STUDIES]
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_study_is_bad_usage(tmp_path):
    done = certify("koch", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: study 'koch' is not known; accepted are ")
    assert list(tmp_path.iterdir()) == []


def test_a_study_runs_on_the_images_that_it_is_given(tmp_path, monkeypatch):
    images, labels = blobs(per_class=40)
    np.savez(tmp_path / "blobs.npz", images=images, labels=labels)
    monkeypatch.setattr(front, "SEEDS", {True: 1})  # a study of seconds
    ends = {dial: values[::2] for dial, values in front.SWEEPS.items()}
    monkeypatch.setattr(front, "SWEEPS", ends)
    path = str(tmp_path / "blobs.npz")
    (done,) = studies.carry_out_all(
        (study_of("front"),), quick=True, seed=0, out=tmp_path / "out", data=path
    )
    assert done["images"] == path
    assert "blobs.npz" in (tmp_path / "out" / "front" / "study.html").read_text()
    assert "τ = 16: clean; certified at 0.1, 0.25, 0.5, 1.0" in " ".join(done["numbers"])


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGINT, "boundary"), (signal.SIGTERM, "weak-critic")]
)
def test_a_stopped_study_says_so_in_a_line_with_ray_as_without(number, name, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "certify", "study", name, "--out", "here"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr.readline().startswith(f"{name}: ")
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (5, "")
    assert err == (
        "error: interrupted; studies that had ended are in here; the same command begins again\n"
    )


def test_images_are_refused_where_none_are_needed_or_none_are_there(tmp_path):
    for name, why in (("capacity", "capacity runs without images; accepted are"), ("all", "")):
        done = certify(name, "--quick", "--data", "digits", cwd=tmp_path)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert why in done.stderr
    done = certify("front", "--data", "nowhere", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_claim_that_is_not_borne_out_is_written_and_ends_with_status_3(tmp_path, monkeypatch):
    studies.refuse_unborne([found()])
    monkeypatch.setattr(capacity, "packing_cap", lambda margin: 4000)
    (wrong,) = studies.carry_out_all((study_of("capacity"),), quick=True, seed=0, out=tmp_path)
    assert "Not borne out" in (tmp_path / "capacity" / "study.html").read_text()
    with pytest.raises(GateError, match=r"capacity \(1 of 24 expectations") as refused:
        studies.refuse_unborne([wrong])
    assert refused.value.exit_status == 3


def test_many_runs_go_through_ray_and_give_the_same_numbers(tmp_path, monkeypatch):
    study = study_of("capacity")
    with room_for([study], quick=True):
        alone = found()
    monkeypatch.setattr(capacity, "runs", lambda *, quick: [{}, {}])
    monkeypatch.setattr(capacity, "conclude", _same)
    with room_for([study], quick=True):
        together = found()
    assert together["panels"] == alone["panels"]


def _same(outcomes, *, quick):
    first, second = outcomes
    assert first == second
    return _conclude([first], quick=quick)


_conclude = capacity.conclude


def test_the_index_names_every_study_and_leads_to_its_page(tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "STUDIES", (study_of("capacity"), study_of("capacity")))
    chosen = studies.chosen_studies("all")
    done = list(studies.carry_out_all(chosen, quick=True, seed=0, out=tmp_path))
    index = (tmp_path / "index.html").read_text()
    assert index == index_page(done)
    assert 'href="capacity/study.html"' in index
    assert (tmp_path / "capacity" / "study.html").is_file()


def test_a_page_loads_nothing_from_elsewhere_and_escapes_what_it_is_given():
    stored = found() | {"claim": "<script>alert(1)</script>"}
    page = study_page(stored)
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org", "").replace("http-equiv", "")
    assert "<script" not in index_page([stored])
