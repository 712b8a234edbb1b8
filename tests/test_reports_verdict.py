"""The verdict in words: the same caveat on the page and on the terminal, and never a false one."""

import report_cases
from hypothesis import given
from hypothesis import strategies as st

from certify.jobs.gates import COMPARISONS, CURVES, parse_gate
from certify.runs.outcome import print_outcome
from reports.page import render_page
from reports.verdict import asks_for_accuracy, verdict_words

UNASKED = "No accuracy was asked for"


@given(
    st.sampled_from(["clean_accuracy", *(f"{curve}@36/255" for curve in CURVES)]),
    st.sampled_from([">=", ">", "=="]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from(["", " "]),
)
def test_accuracy_is_asked_for_where_a_model_that_is_always_wrong_fails(
    metric, comparison, least, space
):
    text = f"{metric}{space}{comparison}{space}{least}"
    assert parse_gate(text).threshold == least
    others = [{"gate": "violations == 0"}, {"gate": "clean_accuracy <= 1"}]
    assert not asks_for_accuracy(others)
    always_wrong_passes = COMPARISONS[comparison](0.0, least)
    assert asks_for_accuracy([*others, {"gate": text}]) == (not always_wrong_passes)


def test_page_and_terminal_say_that_no_accuracy_was_asked_for(capsys):
    gates = [{"gate": "violations == 0", "found": 0, "passed": True}]
    for unasked, said in ((gates, 1), ([], 1), (report_cases.GATES, 0)):
        results = report_cases.with_verdict(report_cases.digits_results(), "passed", gates=unasked)
        print_outcome(results.summary, report="report.html", as_json=False)
        out = capsys.readouterr().out
        assert "PASSED" in out
        assert out.count(UNASKED) == render_page(results).count(UNASKED) == said
        assert ("94.2" in verdict_words(results.summary)["caveat"]) == bool(said)


def test_a_run_that_was_refuted_or_not_finished_was_not_judged():
    for case in ("refuted", "incomplete"):
        assert UNASKED not in report_cases.page_of(case)
