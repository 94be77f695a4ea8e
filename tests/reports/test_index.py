"""One page over all runs of a folder."""

import os
import re

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from reports import write_report
from reports.index import write_index


def study_of(name, *scores):
    study = optuna.create_study(direction="maximize", study_name=name)
    space = {"a": FloatDistribution(0.0, 1.0)}
    study.add_trials(
        [
            create_trial(value=s, params={"a": i / 10}, distributions=space)
            for i, s in enumerate(scores)
        ]
    )
    return study


def test_the_newest_run_stands_first_with_its_winner_and_a_link(tmp_path):
    for age, (name, scores) in enumerate({"old": (0.1, 0.2), "new one": (0.3, 0.7, 0.5)}.items()):
        write_report(study_of(name, *scores), tmp_path / name)
        os.utime(tmp_path / name / "report.json", (1_700_000_000 + age, 1_700_000_000 + age))
    html = write_index(tmp_path).read_text()
    rows = re.findall(r"<tr><td>(.*?)</tr>", html)
    assert [re.search(r'href="([^"]*)"', row).group(1) for row in rows] == [
        "new%20one/report.html", "old/report.html",
    ]  # fmt: skip
    assert "0.7000, not confirmed" in rows[0]
    assert "a=0.1" in rows[0]


def test_hostile_names_are_shown_and_not_run(tmp_path):
    write_report(study_of("<img src=x onerror=alert(1)>", 0.1), tmp_path / "run")
    html = write_index(tmp_path).read_text()
    assert "<img" not in html
    assert "&lt;img" in html


def test_a_report_that_cannot_be_read_is_named(tmp_path):
    for name, text in {"broken": "{", "other": '{"schema": 1}', "list": "[]"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(text)
    html = write_index(tmp_path).read_text()
    assert all(f"{name}/report.json cannot be read" in html for name in ("broken", "other", "list"))


def test_an_empty_folder_says_so(tmp_path):
    assert "There is no report here yet." in write_index(tmp_path).read_text()
