"""Pure measures of how close two arrays or two score lists are."""

from edgeq.metrics.fidelity import Fidelity, FidelityMeter
from edgeq.metrics.named import METRICS, Metric, load_metric

__all__ = ["METRICS", "Fidelity", "FidelityMeter", "Metric", "load_metric"]
