"""The report as one HTML file for people: no network, nothing to install, safe to open."""

from edgeq.report.html.frontier import render_frontier
from edgeq.report.html.optimized import render_optimization
from edgeq.report.html.quantized import render

__all__ = ["render", "render_frontier", "render_optimization"]
