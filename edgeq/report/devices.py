"""What running packs on devices showed, for the terminal. Takes the documents that programs get."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from edgeq.report.elements import facts, paragraphs, plain, sentences, table
from edgeq.report.text import file_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType

_DECIDING = ("ASIMDDP", "I8MM", "SVE", "SVE2", "SME", "AVX2", "AVX512VNNI", "AVX512F")
"""Features of processors that decide between onnxruntime's integer kernels."""

_STYLES = {"pass": "green", "fail": "bold red", "error": "bold red"}
_KERNELS_SHOWN = 12


def render(result: Mapping[str, Any]) -> RenderableType:
    """One device."""
    verdict = result["verdict"]
    head = Text.assemble((verdict.upper(), _STYLES[verdict]), f"  {result['device']}")
    rows = [
        ("runtime", f"{result['runtime']['name']} {result['runtime']['version']}"),
        ("processor", _processor(result["cpu"])),
        ("latency", _latency(result)),
        ("peak memory", _memory(result)),
        ("kernels", _kernels(result["kernels"])),
    ]
    if result["reference"] is not None:
        rows.append(("fp32 original", _reference(result)))
    first = result.get("first_difference")
    if first is not None:
        told = ", ".join(f"{node['op_type']} {node['name']}" for node in first["nodes"])
        rows.append(("differs first", f"{told}: {first['value']} ({first['runs']} runs)"))
    return paragraphs(
        [head, _outputs(result["outputs"]), facts(rows), sentences("note", "dim", result["notes"])]
    )


def render_all(results: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Several devices, one row each."""
    made = table("", "device", "verdict", "worst difference", "median ms", numbers=("median ms",))
    for result in results:
        verdict = result["verdict"]
        latency = "-"
        if verdict != "error":
            emulated = " (emulated)" if result["emulated"] else ""
            latency = f"{result['latency']['median_ms']:.3g}{emulated}"
        made.add_row(
            plain(result["device"]),
            Text(verdict, _STYLES[verdict]),
            plain(_worst_of(result)),
            latency,
        )
    return made


def render_pack(packed: Mapping[str, Any]) -> RenderableType:
    """A pack that was written."""
    made = table("", "output", "type", "tolerance", "because of")
    for port in packed["outputs"]:
        known = port["tolerance"]
        made.add_row(
            plain(port["name"]),
            port["dtype"],
            f"{known['kind']}, {known['absolute']:.3g}" if known["absolute"] else known["kind"],
            plain(", ".join(known["because"])),
        )
    size = file_size(packed["bytes"])
    told = f"Wrote {packed['path']} ({size}, {packed['samples']} samples)"
    return paragraphs([made, plain(told)])


def render_export(made: Mapping[str, Any]) -> RenderableType:
    """A model that was exported."""
    size = made["size"]
    sizes = [
        ("given", file_size(size["onnx_bytes"])),
        ("written", f"{file_size(size['bytes'])}, {made['path']}"),
        ("in an app, deflated", file_size(size["packed_bytes"])),
        ("for a reduced build", made["config"]),
        ("answers as given", f"on {made['samples']} samples" if made["samples"] else "not run"),
    ]
    grid = table(
        "What phones would take, by operators (an upper bound)",
        "provider", "nodes taken", "pieces", "try it", "unknown operators",
    )  # fmt: skip
    for row in made["providers"]:
        grid.add_row(
            row["provider"],
            f"{row['supported']} of {row['nodes']}",
            str(row["partitions"]),
            row["advice"],
            plain(", ".join(row["unsupported"])),
        )
    return paragraphs([facts(sizes), grid if made["providers"] else None])


def render_list(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The kinds of devices."""
    made = table("Devices: edgeq run DEVICE PACK", "device", "what", "ready", "has or needs")
    for row in rows:
        has = ", ".join(f"{name} {version}" for name, version in row["has"].items())
        made.add_row(
            plain(row["device"]),
            plain(row["what"]),
            "yes" if row["ready"] else "no",
            plain(row["missing"] or has),
        )
    return made


def render_versions(device: str, versions: Mapping[str, str]) -> RenderableType:
    """What a device was set up with."""
    return paragraphs([plain(f"{device} is ready"), facts(list(versions.items()))])


def _outputs(outputs: Sequence[Mapping[str, Any]]) -> RenderableType:
    made = table("", "output", "verdict", "worst", "allowed", "where", "unequal")
    for output in outputs:
        worst, allowed = output["worst"], output["tolerance"]
        where = output["problem"] or "-"
        if worst is not None and output["problem"] is None and float(worst["difference"]):
            where = (
                f"sample {worst['sample']}, {worst['index']}: {float(worst['got']):.6g} "
                f"instead of {float(worst['expected']):.6g}"
            )
        made.add_row(
            plain(output["name"]),
            Text(output["verdict"], _STYLES[output["verdict"]]),
            "-" if worst is None else f"{float(worst['difference']):.3g}",
            _allowed(allowed),
            plain(where),
            f"{output['unequal']} of {output['elements']}",
        )
    return made


def _allowed(row: Mapping[str, Any]) -> str:
    told = f"{row['absolute']:.3g} ({row['kind']})"
    return f"{told}, but for {100 * row['outliers']:g} %" if row["outliers"] else told


def _worst_of(result: Mapping[str, Any]) -> str:
    if result["verdict"] == "error":
        return "; ".join(result["failures"])
    told = []
    for output in result["outputs"]:
        worst = output["worst"]
        off = output["problem"] or ("-" if worst is None else f"{float(worst['difference']):.3g}")
        told.append(f"{output['name']} {off} of {output['tolerance']['absolute']:.3g}")
    return ", ".join(told)


def _processor(cpu: Mapping[str, Any]) -> str:
    deciding = [name for name in cpu.get("features", []) if name in _DECIDING]
    emulated = f"emulated {cpu['emulated']}" if "emulated" in cpu else ""
    words = [emulated, cpu.get("machine", ""), " ".join(deciding)]
    return ", ".join(word for word in words if word) or "unknown"


def _latency(result: Mapping[str, Any]) -> str:
    row = result["latency"]
    told = f"{row['median_ms']:.3g} ms ({row['fastest_ms']:.3g} to {row['slowest_ms']:.3g})"
    return told if row["meaningful"] else f"{told}, meaningless: emulated"


def _memory(result: Mapping[str, Any]) -> str:
    peak = result["peak_memory_mb"]
    if peak is None:
        return "unknown"
    return f"{peak:.0f} MB" + (", the emulator included" if result["emulated"] else "")


def _kernels(kernels: Sequence[Mapping[str, Any]] | None) -> str:
    if kernels is None:
        return "not told by this runtime"
    told = [f"{each['nodes']} {each['op_type']}" for each in kernels[:_KERNELS_SHOWN]]
    return ", ".join(told) + (", ..." if len(kernels) > _KERNELS_SHOWN else "")


def _reference(result: Mapping[str, Any]) -> str:
    reference = result["reference"]
    speedup = reference["latency"]["median_ms"] / max(result["latency"]["median_ms"], 1e-9)
    told = [f"{reference['latency']['median_ms']:.3g} ms"]
    if result["latency"]["meaningful"]:
        told.append(f"speed-up {speedup:.2f}")
    told += [
        f"{row['name']} {row['sqnr_db']:.1f} dB"
        for row in reference["outputs"]
        if row["sqnr_db"] is not None
    ]
    return ", ".join(told)
