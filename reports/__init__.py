"""From a ledger, or any Optuna study, to report.html and report.json.

from reports import analyze, read_table, write_report
write_report(study, "out/")          # out/report.html, out/report.json
analyze(study, seed=0).to_dict()     # the numbers of its sensitivity section
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from reports.errors import ReportError

if TYPE_CHECKING:
    from reports.analysis import analyze
    from reports.render import write_report
    from reports.sensitivity.result import Analysis
    from reports.trials import TrialTable, read_table

__all__ = ["Analysis", "ReportError", "TrialTable", "analyze", "read_table", "write_report"]

_HOMES = {
    "Analysis": "reports.sensitivity.result", "analyze": "reports.analysis",
    "TrialTable": "reports.trials", "read_table": "reports.trials", "write_report": "reports.render",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Loads Optuna and plotly at the first use only, so that `tuner --help` answers at once."""
    if name not in _HOMES:
        raise AttributeError(f"module 'reports' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
