"""Size and speed of a report: `python bench/report_page.py`. Needs Chromium; prints a Markdown table.

Rendering is all of `write_report` after the analysis. From opening the file: until all is loaded and the
trials' table can be sorted, and until the first picture, scrolled to, is drawn; medians of five.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from analysis_speed import study_of
from playwright.sync_api import sync_playwright

from reports import read_table, write_report
from reports.analysis import analyze_table

SIZES = ((200, 6), (1_000, 8), (10_000, 8))


def main() -> None:
    """One row per size."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("error: no Chromium here; apt-get install chromium")
    print("| trials × parameters | analysis s | rendering s | file MB | loaded s | picture s |")
    print("| --- | --- | --- | --- | --- | --- |")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for trials, parameters in SIZES:
            study = study_of(trials, parameters)
            start = time.perf_counter()
            analyze_table(read_table(study))
            analysis = time.perf_counter() - start
            start = time.perf_counter()
            path = write_report(study, Path(folder) / str(trials))
            rendering = time.perf_counter() - start - analysis
            moments: list[list[float]] = []
            for _ in range(5):
                page = browser.new_page()
                start = time.perf_counter()
                page.goto(path.as_uri())
                page.wait_for_selector("html[data-ready=yes]")
                loaded = time.perf_counter() - start
                page.locator(".plot").first.scroll_into_view_if_needed()
                page.locator(".plot svg.main-svg").first.wait_for()
                moments.append([loaded, time.perf_counter() - start])
                page.close()
            print(
                f"| {trials:,} × {parameters} | {analysis:.1f} | {max(rendering, 0):.1f} | "
                f"{path.stat().st_size / 1e6:.2f} | "
                + " | ".join(f"{median(part):.1f}" for part in zip(*moments, strict=True))
                + " |"
            )
        browser.close()


if __name__ == "__main__":
    main()
