"""The report in a real Chromium: what people see, click and take away."""

import csv
import io
import json
import math

import numpy as np
import optuna
import pytest
from axe_playwright_python.sync_playwright import Axe
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial
from playwright.sync_api import expect

from reports import write_report
from tests import PATIENCE
from tests.browser import through

# axe's package reads its script with a loader that Python has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:axe_playwright_python")
HOSTILE = (
    "</script><img src=x onerror='window.hit=1'><b>=cmd()</b><a href='http://a.example'>%{x}</a>"
)
WIDEST = "Math.max(...[...document.querySelectorAll('.main-svg')].map((s) => s.clientWidth))"
SPACE = {
    "learning_rate": FloatDistribution(1e-5, 1e-3, log=True),
    "warmup_ratio": FloatDistribution(0.0, 0.3),
    "batch_size": CategoricalDistribution((16, 32)),
    "kind": CategoricalDistribution(("plain", "fancy")),
}


def sweep(count, hostile=False):
    """A sweep of finished, pruned and failed trials with a default, curves, times and seeds."""
    other = HOSTILE if hostile else "fancy"
    space = SPACE | {"kind": CategoricalDistribution(("plain", other))}
    rng = np.random.default_rng(3)
    study = optuna.create_study(direction="maximize", study_name=HOSTILE if hostile else "mrpc")
    study.set_user_attr("schema", 1)
    study.set_user_attr("metric", "eval_f1")
    study.set_user_attr("script", "train_script/train.py")
    study.set_user_attr("run_folder", "/home/anna/my runs/demo")
    study.set_user_attr("data", {"sha256": "0" * 64})
    for i in range(count):
        u = rng.random()
        params = {
            "learning_rate": 1e-5 * 100**u, "warmup_ratio": 0.3 * rng.random(),
            "batch_size": (16, 32)[i % 2], "kind": ("plain", other)[i % 3 == 0],
        }  # fmt: skip
        score = 0.9 - (u - 0.6) ** 2 + 0.01 * rng.standard_normal()
        state = TrialState.PRUNED if i % 7 == 6 else TrialState.COMPLETE
        attributes = {
            "chosen_by": "default" if i == 0 else "adaptive", "seed": i, "wall_seconds": 60.0 + i,
            "arguments": ["--learning_rate", str(params["learning_rate"])],
        }  # fmt: skip
        if i % 11 == 10:
            state = TrialState.FAIL
            attributes |= {
                "failure": f"out of memory {HOSTILE}",
                "stderr_tail": ["line 1", HOSTILE],
            }
        study.add_trial(
            create_trial(
                state=state,
                value=score if state == TrialState.COMPLETE else None,
                params=params,
                distributions=space,
                user_attrs=attributes,
                intermediate_values={25: score - 0.2, 50: score - 0.1}
                | ({100: score} if state == TrialState.COMPLETE else {}),
            )
        )
    best = max(study.get_trials(states=[TrialState.COMPLETE]), key=lambda t: t.value)
    for seed in range(3):
        for of in (best, study.trials[0]):
            study.add_trial(
                create_trial(
                    value=of.value - 0.01 + 0.005 * rng.standard_normal(), params=of.params,
                    distributions=space,
                    user_attrs={"purpose": "confirm", "confirms": of.number, "seed": 1000 + seed,
                                "chosen_by": "confirmation", "wall_seconds": 60.0},
                )
            )  # fmt: skip
    return study


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A sweep of 60 trials and its report."""
    study = sweep(60)
    return study, write_report(study, tmp_path_factory.mktemp("report"))


def column(page, number):
    return page.locator(
        f"#all-trials tbody tr:not(.detail) td:nth-child({number})"
    ).all_inner_texts()


EMPTY = optuna.create_study(study_name="empty")
STUDIES = {
    "a sweep": sweep(30),
    "nothing": EMPTY,
    "one trial": optuna.create_study(study_name="one"),
    "all failed": optuna.create_study(study_name="failed"),
    "several objectives": optuna.create_study(
        directions=["maximize", "minimize"], study_name="two"
    ),
}
STUDIES["one trial"].add_trial(create_trial(value=0.5, params={}, distributions={}))
for _ in range(3):
    STUDIES["all failed"].add_trial(
        create_trial(state=TrialState.FAIL, params={"a": 0.5}, distributions={"a": FloatDistribution(0, 1)})
    )  # fmt: skip
    STUDIES["several objectives"].add_trial(
        create_trial(values=[0.5, 2.0], params={"a": 0.5}, distributions={"a": FloatDistribution(0, 1)})
    )  # fmt: skip


@pytest.mark.parametrize("name", STUDIES)
def test_every_report_opens_without_an_error_and_asks_nobody_for_anything(name, opened, tmp_path):
    page = opened(write_report(STUDIES[name], tmp_path))
    through(page)
    assert page.troubles == []
    assert page.evaluate("document.documentElement.dataset.ready") == "yes"
    assert not page.locator("#no-pictures").is_visible()


def test_the_trials_are_sorted_and_filtered(written, opened):
    study, path = written
    page = opened(path)
    page.get_by_role("button", name="learning_rate", exact=True).click()
    shown = [float(text) for text in column(page, 4)]
    assert len(shown) == len(study.trials)
    assert shown == sorted(shown)
    page.get_by_role("button", name="learning_rate", exact=True).click()
    assert [float(text) for text in column(page, 4)] == sorted(shown, reverse=True)
    page.get_by_label("Filter the trials by status").select_option("failed")
    assert set(column(page, 2)) == {"failed"}
    failed = sum(t.state == TrialState.FAIL for t in study.trials)
    assert page.get_by_role("status").inner_text().startswith(f"{failed} of {failed} trials shown")
    page.get_by_label("Filter the trials by status").select_option("")
    page.get_by_label("Filter the trials by words").fill("12")
    assert "12" in column(page, 1)
    assert "13" not in column(page, 1)  # a number is a whole one, not a part of 0.0123
    page.get_by_label("Filter the trials by words").fill("nowhere to be found")
    assert column(page, 1) == []


def test_trials_without_a_score_come_last_whichever_way_it_is_sorted(written, opened):
    page = opened(written[1])
    for _ in range(2):
        page.get_by_role("button", name="eval_f1", exact=True).click()
        shown = column(page, 3)
        assert shown[0] != ""
        assert shown[-1] == ""


def test_a_row_opens_to_its_failure_and_the_command_that_repeats_it(written, opened):
    page = opened(written[1])
    page.get_by_role("button", name="Trial 10: more").click()
    detail = page.locator("tr.detail").inner_text()
    assert "out of memory" in detail
    data = "SM_CHANNEL_TRAINING='/home/anna/my runs/demo/data'"
    assert f"{data} python train_script/train.py --learning_rate" in detail
    page.get_by_role("button", name="Trial 10: more").click()
    assert page.locator("tr.detail").count() == 0


def test_the_downloads_are_what_the_ledger_holds(written, opened):
    study, path = written
    page = opened(path)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download report.json").click()
    with open(download.value.path(), "rb") as file:
        assert file.read() == path.with_name("report.json").read_bytes()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download all as CSV").click()
    with open(download.value.path(), encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(io.StringIO(file.read())))
    assert len(rows) == len(study.trials)
    for row, trial in zip(rows, study.trials, strict=True):
        assert int(row["number"]) == trial.number
        assert float(row["param.learning_rate"]) == trial.params["learning_rate"]
        assert (float(row["objective"]) if row["objective"] else None) == trial.value
        assert row["failure"] == trial.user_attrs.get("failure", "")
        curve = dict(json.loads(row["curve"]))
        assert curve == pytest.approx(trial.intermediate_values)


def test_hostile_text_is_shown_and_never_run(opened, tmp_path):
    page = opened(write_report(sweep(40, hostile=True), tmp_path))
    through(page)
    page.get_by_role("button", name="Trial 10: more").click()
    assert page.evaluate("window.hit") is None
    assert page.locator("img, a:not([href^='#']), .plot b").count() == 0
    ticks = page.locator(".plot text").all_text_contents()
    assert any(HOSTILE in text for text in ticks)
    assert HOSTILE in page.locator("h1").inner_text()
    assert HOSTILE in page.locator("tr.detail").inner_text()
    assert page.troubles == []


@pytest.mark.parametrize("options", [
    {}, {"color_scheme": "dark"}, {"viewport": {"width": 390, "height": 844}},
], ids=["light", "dark", "phone"])  # fmt: skip
def test_axe_finds_nothing_serious(written, opened, options):
    page = opened(written[1], bypass_csp=True, **options)
    through(page)
    page.get_by_role("button", name="Trial 10: more").click()
    page.evaluate("document.querySelectorAll('details').forEach(item => item.open = true)")
    found = Axe().run(page).response["violations"]
    serious = [v for v in found if v["impact"] in ("serious", "critical")]
    assert [(v["id"], [n["target"] for n in v["nodes"]][:3]) for v in serious] == []


def test_a_phone_scrolls_down_only(written, opened):
    page = opened(written[1], viewport={"width": 390, "height": 844})
    through(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_dark_and_print_follow_the_reader(written, opened):
    page = opened(written[1], color_scheme="dark")
    through(page)

    def colours():
        return page.evaluate(
            "[getComputedStyle(document.body).backgroundColor, "
            "document.querySelector('.plot .xtick text').style.fill]"
        )

    assert colours() == ["rgb(18, 22, 29)", "rgb(229, 231, 235)"]
    page.emulate_media(color_scheme="light")
    expect(page.locator(".plot .xtick text").first).to_have_css("fill", "rgb(31, 41, 55)")
    assert colours()[0] == "rgb(255, 255, 255)"
    page.get_by_label("Filter the trials by status").select_option("failed")
    filtered = len(column(page, 1))
    page.emulate_media(color_scheme="dark", media="print")
    assert colours()[0] == "rgb(255, 255, 255)"
    assert page.pdf().startswith(b"%PDF")
    # On paper stand all trials, whatever was filtered, the pictures are narrower, and their numbers stand below them.
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert len(column(page, 1)) == len(written[0].trials) > filtered
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert len(column(page, 1)) == filtered
    for event, fits in (("beforeprint", True), ("afterprint", False)):
        page.evaluate(f"dispatchEvent(new Event('{event}'))")
        page.wait_for_function(f"{WIDEST} {'<=' if fits else '>'} 660")
        assert (page.locator("figure details:not([open])").count() == 0) == fits


def test_without_scripts_the_words_the_numbers_and_the_trials_are_there(written, browser):
    study, path = written
    context = browser.new_context(java_script_enabled=False)
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    page.goto(path.as_uri())
    assert page.locator("#no-pictures").is_visible()
    assert page.locator("#all-trials tbody tr").count() == len(study.trials)
    assert page.locator("#sensitivity details").count() == 1
    context.close()


def test_two_hundred_trials_fit_into_a_mail(tmp_path):
    path = write_report(sweep(200), tmp_path)
    assert path.stat().st_size <= 2_200_000


def test_ten_thousand_trials_open_and_page(opened, tmp_path):
    study = optuna.create_study(study_name="large")
    rng = np.random.default_rng(0)
    space = {"a": FloatDistribution(0.0, 1.0)}
    study.add_trials(
        [
            create_trial(
                value=float(math.sin(5 * a) + 0.1 * b), params={"a": a}, distributions=space
            )
            for a, b in zip(rng.random(10_000), rng.standard_normal(10_000), strict=True)
        ]
    )
    page = opened(write_report(study, tmp_path))
    through(page)
    assert len(column(page, 1)) == 100
    page.get_by_role("button", name="Show 100 more").click()
    assert len(column(page, 1)) == 200
    assert page.get_by_role("status").inner_text() == "200 of 10000 trials shown"
    assert page.troubles == []
