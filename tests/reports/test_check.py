"""`tuner report --check`: a report that was changed, or whose trials were, does not hold."""

import json

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from reports import ReportError, write_report
from reports.check import check_report


@pytest.fixture
def study():
    study = optuna.create_study(direction="maximize", study_name="checked")
    space = {"a": FloatDistribution(0.0, 1.0)}
    for i in range(20):
        study.add_trial(
            create_trial(value=0.5 + 0.01 * i, params={"a": i / 20}, distributions=space)
        )
    return study


def test_a_report_holds_against_its_own_trials(study, tmp_path):
    write_report(study, tmp_path)
    found = check_report(tmp_path / "report.json", study)
    assert found.values > 200
    assert found.differences == []
    assert found.same_page is True


def test_a_number_that_was_changed_is_named_with_both_values(study, tmp_path):
    write_report(study, tmp_path)
    path = tmp_path / "report.json"
    report = json.loads(path.read_text())
    report["sections"]["winner"]["winner"]["score"] = 0.99
    path.write_text(json.dumps(report))
    found = check_report(path, study)
    assert [str(d) for d in found.differences] == [
        "sections.winner.winner.score: 0.99 in the report, 0.69 from the trials"
    ]
    assert found.same_page is True


def test_a_sentence_that_was_changed_in_the_page_is_seen(study, tmp_path):
    path = write_report(study, tmp_path)
    path.write_text(path.read_text().replace("0.6900", "0.9900"))
    found = check_report(tmp_path / "report.json", study)
    assert found.differences == []
    assert found.same_page is False


def test_a_value_that_was_taken_out_is_seen(study, tmp_path):
    write_report(study, tmp_path)
    path = tmp_path / "report.json"
    report = json.loads(path.read_text())
    del report["sections"]["sensitivity"]["failures"]
    path.write_text(json.dumps(report))
    assert [d.place for d in check_report(path, study).differences] == [
        "sections.sensitivity.failures"
    ]


def test_a_trial_that_came_later_is_seen(study, tmp_path):
    write_report(study, tmp_path)
    study.add_trial(create_trial(value=0.9, params={}, distributions={}))
    found = check_report(tmp_path / "report.json", study)
    assert any(d.place == "sections.trials.trials" for d in found.differences)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"schema": 1}', '{"schema": 2, "objective": "f1"}', "\udcff"]
)
def test_what_is_no_report_is_refused(study, tmp_path, text):
    path = tmp_path / "report.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ReportError, match=r"report\.json (cannot be read|is no report\.json)"):
        check_report(path, study)


def test_without_a_page_only_the_numbers_are_checked(study, tmp_path):
    write_report(study, tmp_path)
    (tmp_path / "report.html").unlink()
    assert check_report(tmp_path / "report.json", study).same_page is None
