"""What the tests of steps that rewrite the float model ask about them."""

import graphs
import numpy as np

from edgeq.graph.walk import nodes, values
from edgeq.quantization.annotate import annotate
from edgeq.recipe import Recipe
from edgeq.refinement.channels import channel_ranges
from edgeq.refinement.equalization import equalize
from edgeq.refinement.scaling import channel_axes
from edgeq.runtime.session import Session
from edgeq.targets.cpu import CPU


def run(model, samples):
    session = Session(model, graphs.UNOPTIMIZED)
    return [session.run(sample) for sample in samples]


def rewrite(model, samples=None, *, recipe=None, step=equalize, **options):
    """The step's result; checks that outputs, names and the given model stay as they were."""
    samples = graphs.feeds(model) if samples is None else samples
    shown = graphs.show(model)
    weights = {n: v.const_value.numpy().copy() for n, v in model.graph.initializers.items()}
    annotations = annotate(model, CPU, recipe or Recipe())
    channels = channel_ranges(model, channel_axes(model), samples)
    found = step(model, annotations, channels, **options)
    assert graphs.show(model) == shown
    assert all(
        np.array_equal(w, model.graph.initializers[n].const_value) for n, w in weights.items()
    )
    assert set(values(model)) - set(model.graph.initializers) <= set(values(found.model))
    assert [n.name for n in nodes(model)] == [
        n.name for n in nodes(found.model) if n.name in {m.name for m in nodes(model)}
    ]
    for left, right in zip(run(model, samples), run(found.model, samples), strict=True):
        for name, wanted in left.items():
            bound = 1e-5 * max(float(np.abs(wanted).max(initial=0)), 1e-6)
            np.testing.assert_allclose(right[name], wanted, rtol=1e-4, atol=bound)
    seen = channel_ranges(found.model, channel_axes(found.model), samples)
    for name, factors in found.factors.items():
        if name in channels and name in seen:
            told = channels[name].times(factors)
            for part in ("minimum", "maximum", "mean", "power"):
                there, bound = getattr(seen[name], part), np.sqrt(seen[name].power.max())
                np.testing.assert_allclose(
                    getattr(told, part), there, rtol=1e-3, atol=1e-5 * max(bound, bound**2, 1e-9)
                )
    return found


def gain(model, found, samples=None):
    """dB that the rewrite wins."""
    before = graphs.quantize(model, samples).sqnr()
    return graphs.closeness(model, graphs.quantize(found.model, samples).model,
                            samples or graphs.feeds(model)) - before  # fmt: skip


def unlike(model, found, value, samples=None):
    """Largest by smallest range of the channels of a value, before and after."""
    result = []
    for one in (model, found.model):
        seen = channel_ranges(one, channel_axes(one), samples or graphs.feeds(model))[value]
        reach = np.maximum(seen.maximum, -seen.minimum)
        result.append(float(reach.max() / reach[reach > 0].min()))
    return result
