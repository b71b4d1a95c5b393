"""Pure measures of how close two arrays or two score lists are."""

from edgeq.metrics.fidelity import Fidelity, FidelityMeter

__all__ = ["Fidelity", "FidelityMeter"]
