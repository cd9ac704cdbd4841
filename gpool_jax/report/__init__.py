"""Results, as results.json and as one self-contained report.html."""

from gpool_jax.report.html import write_report
from gpool_jax.report.result import Measurement, Probe, Result, Row, read_result, write_result

__all__ = ["Measurement", "Probe", "Result", "Row", "read_result", "write_report", "write_result"]
