"""From measurements to sentences: what the user should know, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.quantization.pairs import PairForm

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edgeq.metrics import Fidelity
    from edgeq.quantization.plan import QuantPlan
    from edgeq.runtime.latency import LatencyComparison
    from edgeq.runtime.profile import NodeTime
    from edgeq.validation.coverage import Coverage
    from edgeq.validation.layers import LayerFidelity

FEW_SAMPLES = 16
"""With fewer calibration samples, ranges depend on luck."""

LOW_COVERAGE = 0.5
FAR_OFF_DB = 20.0
"""Worst-output SQNR under which errors exceed a tenth of the signal, and the layers are named."""


def warnings_about(
    outputs: Mapping[str, Fidelity],
    coverage: Coverage | None,
    latency: Sequence[LatencyComparison],
    layers: Sequence[LayerFidelity],
    samples: int | None,
    plan: QuantPlan | None,
    times: Sequence[NodeTime] = (),
    size_ratio: float = 0.0,
) -> tuple[str, ...]:
    """Everything that should not go unsaid.

    Args:
        outputs: Closeness per output.
        coverage: What runs in integers, where measured.
        latency: Comparisons, where measured.
        layers: Closeness per layer, in the order of the graph.
        samples: Calibration samples read; None where nothing was calibrated.
        plan: What was done to each node; None where that is not known.
        times: Profile of the candidate, where it is slower than the original.
        size_ratio: Size of the candidate over that of the original.
    """
    found = [
        *_about_samples(samples),
        *_about_unmeasured(outputs),
        *_about_outputs(outputs, layers),
        *_about_coverage(coverage),
        *_about_unseen(plan),
        *_about_pairs(plan),
        *_about_latency(latency, coverage, times),
        *_about_size(size_ratio),
    ]
    return tuple(found)


def _about_unmeasured(outputs: Mapping[str, Fidelity]) -> Iterator[str]:
    names = [name for name, closeness in outputs.items() if not closeness.measured]
    if names:
        yield (
            f"Outputs {', '.join(names)} of the original hold no finite number on any sample: how "
            "close the result is there is not known. Check the data"
        )


def _about_pairs(plan: QuantPlan | None) -> Iterator[str]:
    notes = [] if plan is None else [n for n in plan.pairs if n.form is PairForm.FULL]
    layers = list(dict.fromkeys(note.node for note in sorted(notes, key=lambda n: -n.worst)))
    if layers:
        yield (
            f"On x86 without VNNI (AMD before Zen 4, many Intel before 2021) sums of two products "
            f"can saturate in {len(layers)} layers, such as {layers[0]}: results can be far off "
            "there. Keeping them from it costs accuracy everywhere; for such machines quantize "
            "with --target x86-avx2"
        )


def _about_samples(samples: int | None) -> Iterator[str]:
    if samples is not None and samples < FEW_SAMPLES:
        yield (
            f"Only {samples} calibration samples: ranges may miss what other inputs reach. "
            f"Give at least {FEW_SAMPLES}, better 100"
        )


def _about_outputs(
    outputs: Mapping[str, Fidelity], layers: Sequence[LayerFidelity]
) -> Iterator[str]:
    if not outputs:
        yield "No output holds numbers: how close the model is to the original was not measured"
    far = [name for name, closeness in outputs.items() if closeness.sqnr_db < FAR_OFF_DB]
    if not far:
        return
    steepest = steepest_falls(layers)
    named = ", ".join(f"{name} ({a:.0f} -> {b:.0f} dB)" for name, a, b in steepest)
    where = f"; quality falls most at {named}" if named else ""
    yield (
        f"Outputs {', '.join(far)} are under {FAR_OFF_DB:g} dB SQNR{where}. Check the task score "
        "(--eval, --metric); exclude these layers (--exclude) if it suffers"
    )


def steepest_falls(
    layers: Sequence[LayerFidelity], count: int = 3
) -> list[tuple[str, float, float]]:
    """The layers that lose most themselves: (name, dB in what they read, dB in what they make)."""
    falling = sorted(layers, key=lambda layer: -layer.fall_db)[:count]
    return [(each.name, each.before_db, each.sqnr_db) for each in falling if each.fall_db > 0]


def _about_coverage(coverage: Coverage | None) -> Iterator[str]:
    if coverage is not None and coverage.ratio < LOW_COVERAGE:
        heaviest = coverage.float_nodes[:3]
        names = ", ".join(f"{node.op_type} {node.name} ({node.reason})" for node in heaviest)
        yield (
            f"Only {coverage.ratio:.0%} of the multiply-accumulates run in integers. "
            f"The heaviest of the rest: {names}"
        )


def _about_unseen(plan: QuantPlan | None) -> Iterator[str]:
    unseen = [
        d.node
        for d in (plan.decisions if plan else ())
        if d.reason.startswith("no calibration sample")
    ]
    if unseen:
        yield (
            f"{len(unseen)} nodes stay float because no calibration sample reached them "
            f"(such as {unseen[0]}). Add samples that take those branches"
        )


def _about_size(ratio: float) -> Iterator[str]:
    if ratio >= 1.0:
        yield (
            f"The quantized model is {ratio:.2f} times as large as the original: what the nodes "
            "and scales of quantization take is more than its weights save"
        )


def _about_latency(
    latency: Sequence[LatencyComparison],
    coverage: Coverage | None,
    times: Sequence[NodeTime],
) -> Iterator[str]:
    slow = [c for c in latency if c.speedup < 1.0]
    if not slow:
        return
    worst = min(slow, key=lambda comparison: comparison.speedup)
    leftover = "" if coverage is None else f" {coverage.leftover_qdq} conversions are left over."
    yield (
        f"The quantized model is slower than fp32 here ({worst.speedup:.2f} times as fast with "
        f"{worst.threads} threads).{leftover}{_where_time_goes(times)} It pays in size only, "
        "unless the target differs"
    )


def _where_time_goes(times: Sequence[NodeTime]) -> str:
    """The operators and the layers that take most time, in a sentence."""
    if not times:
        return ""
    shares: dict[str, float] = {}
    for node in times:
        shares[node.op_type] = shares.get(node.op_type, 0.0) + node.share
    ranked = sorted(shares.items(), key=lambda item: -item[1])[:3]
    ops = ", ".join(f"{op} {share:.0%}" for op, share in ranked)
    layers = ", ".join(f"{node.name} ({node.share:.0%})" for node in times[:3])
    return f" Its time goes to {ops}; the slowest nodes are {layers}."
