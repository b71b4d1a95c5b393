"""What devices make of quantized models: packs of a set, run on every device that works here.

    python benchmarks/devices.py SET                      table of pass or fail and worst difference
    python benchmarks/devices.py SET --given FOLDER       of FOLDER/NAME.onnx instead of quantizing
    python benchmarks/devices.py SET --target x86-avx2 --devices local,qemu://x86-avx2 --strict

Models are quantized for the target with calibration samples as few as said, without validation and
without recovery steps: what is looked at is whether devices agree, not how close int8 is to fp32.
With --strict the exit code is 1 when a device does not pass.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from common import machine, parser, read_set, table

import edgeq
from edgeq import api
from edgeq.device.running import RunOptions
from edgeq.errors import EdgeqError
from edgeq.refinement.steps import STEPS

if TYPE_CHECKING:
    import argparse

    from common import Entry

    from edgeq.device.result import DeviceResult


def main() -> int:
    """Run; the exit code."""
    asked = _arguments()
    devices = asked.devices.split(",") if asked.devices else _working()
    rows, passed = [], True
    with tempfile.TemporaryDirectory(prefix="edgeq-devices-") as folder:
        for entry in read_set(asked.set, asked.models):
            cells = [entry.name]
            try:
                pack, held = _packed(entry, asked, Path(folder))
            except EdgeqError as error:
                rows.append([*cells, f"error: {error}", *[""] * len(devices)])
                passed = False
                continue
            cells.append(held)
            for device in devices:
                good, told = _ran(device, pack, asked)
                passed &= good
                cells.append(told)
                print(f"{entry.name} {device}: {told}", file=sys.stderr, flush=True)
            rows.append(cells)
    print(machine())
    print(table(["model", "held to", *devices], rows))
    print(f"{'all passed' if passed else 'not all passed'}")
    return 0 if passed or not asked.strict else 1


def _arguments() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--given", type=Path, metavar="FOLDER", help="quantized models, NAME.onnx")
    made.add_argument("--target", default="cpu", help="to quantize for (cpu)")
    made.add_argument("--calib-samples", type=int, default=8, metavar="N", help="for that (8)")
    made.add_argument("--samples", type=int, default=4, metavar="N", help="in a pack (4)")
    made.add_argument("--devices", metavar="A,B", help="only these; default: all that work here")
    made.add_argument("--timeout", type=float, default=900.0, metavar="S", help="a device (900)")
    made.add_argument("--strict", action="store_true", help="fail when a device does not pass")
    return made.parse_args()


def _working() -> list[str]:
    return [text for offer in api.devices() if offer.missing is None for text in offer.addresses]


def _packed(entry: Entry, asked: argparse.Namespace, folder: Path) -> tuple[Path, str]:
    """Make a pack; where it is, and what its outputs are held to."""
    model = folder / f"{entry.name}.onnx"
    given = None if asked.given is None else asked.given / f"{entry.name}.onnx"
    if given is not None and given.is_file():
        model = given
    else:
        result = edgeq.quantize(
            entry.model,
            entry.calib,
            target=asked.target,
            max_samples=asked.calib_samples,
            threads=asked.threads,
            skip_steps=[step.name for step in STEPS],
            validate=False,
        )
        result.save(model, even_if_failed=True)
    pack = folder / f"{entry.name}.edgeq.zip"
    made = edgeq.pack(model, entry.calib, pack, samples=asked.samples)
    held = [
        f"{port.tolerance.kind} {port.tolerance.absolute:.2g}"
        for port in made.outputs
        if port.tolerance is not None
    ]
    return pack, _short(held)


def _ran(device: str, pack: Path, asked: argparse.Namespace) -> tuple[bool, str]:
    start = time.perf_counter()
    options = RunOptions(seconds=0.2, threads=asked.threads, timeout=asked.timeout)
    try:
        result = edgeq.run(device, pack, options=options)
    except EdgeqError as error:
        return False, f"error: {error.what}"
    return result.passed, f"{_told(result)}, {time.perf_counter() - start:.0f} s"


def _told(result: DeviceResult) -> str:
    """Pass or fail, the worst difference, and its part of the largest one allowed."""
    worst = [
        f"{output.worst.difference:.2g}" if output.worst is not None else "-"
        for output in result.outputs
    ]
    return f"{'pass' if result.passed else '**fail**'} {_short(worst)}"


def _short(words: list[str]) -> str:
    """The words without repetition, a few at most."""
    found = list(dict.fromkeys(words))
    return "/".join(found[:3]) + ("/..." if len(found) > 3 else "")


if __name__ == "__main__":
    sys.exit(main())
