"""The report: one document, shown as JSON or in the terminal."""

from edgeq.report.document import Report

__all__ = ["Report"]
