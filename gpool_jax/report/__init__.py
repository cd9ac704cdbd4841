"""From a result to results.json and one self-contained report.html."""

from gpool_jax.report.html import write_report
from gpool_jax.report.result import Probe, Result, Row, read_result, write_result

__all__ = ["Probe", "Result", "Row", "read_result", "write_report", "write_result"]
