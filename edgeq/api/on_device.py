"""Validating on a device: the candidate as a pack, run there, and where it parts from here."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeq.api.packing import deciding
from edgeq.device import address as addresses
from edgeq.device.devices import ready
from edgeq.device.differing import first_difference
from edgeq.device.expectation import expect
from edgeq.device.reading import opened
from edgeq.device.running import RunOptions, run_pack
from edgeq.device.writing import write_pack
from edgeq.graph import loader
from edgeq.graph.expose import expose

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.device.devices import Device
    from edgeq.device.differing import Difference
    from edgeq.device.result import DeviceResult, OutputResult
    from edgeq.graph.loader import LoadedModel
    from edgeq.types import Sample


@dataclass(frozen=True, slots=True)
class OnDevice:
    """What a device made of a candidate.

    Attributes:
        result: What running it there showed.
        difference: The first node whose output differs; None where nothing does, where nobody
            asked, or where everything is right once it is looked at.
        searched: Whether it was looked for.
    """

    result: DeviceResult
    difference: Difference | None = None
    searched: bool = False

    @property
    def failures(self) -> tuple[str, ...]:
        """What is off there, sentences for a verdict."""
        found = tuple(f"on {self.result.device}: {failure}" for failure in self.result.failures)
        if self.difference is not None:
            found += (f"on {self.result.device}: {self.difference}",)
        return found

    def to_dict(self) -> dict[str, Any]:
        """As plain data, ready for JSON."""
        difference = None if self.difference is None else self.difference.to_dict()
        return {**self.result.to_dict(), "first_difference": difference}


def run_candidate(
    device: str, candidate: LoadedModel, samples: Sequence[Sample], threads: int, *, explain: bool
) -> OnDevice:
    """Run a candidate on a device and hold it against what it answers here.

    Args:
        device: Its address.
        candidate: The model.
        samples: What to run it on.
        threads: Threads inside an operator; 0 lets the runtime choose.
        explain: Whether to look for the first node that differs.

    Raises:
        DeviceError: The device cannot be reached or cannot run it.
    """
    options = RunOptions(threads=threads)
    with ready(addresses.parse(device)) as chosen:
        result = _run(chosen, candidate, samples, options)
        if result.passed or not explain:
            return OnDevice(result)
        number = max(
            (each.worst.sample for each in result.outputs if each.worst and not each.passed),
            default=0,
        )
        difference = explain_on(chosen, candidate, samples[number])
    return OnDevice(result, difference, searched=True)


def explain_on(device: Device, candidate: LoadedModel, sample: Sample) -> Difference | None:
    """Look for the first node of a model whose output differs on a device for one sample."""
    model = candidate.model

    def probe(names: Sequence[str]) -> Mapping[str, OutputResult]:
        exposed = expose(model, names, keep_outputs=False)
        looked_at = loader.load(exposed.model)
        result = _run(device, looked_at, [sample], RunOptions(seconds=0.0))
        found = {output.name: output for output in result.outputs}
        return {name: found[output] for name, output in exposed.outputs.items()}

    return first_difference(model, probe)


def _run(
    device: Device, model: LoadedModel, samples: Sequence[Sample], options: RunOptions
) -> DeviceResult:
    with tempfile.TemporaryDirectory(prefix="edgeq-") as folder:
        path = Path(folder) / "pack.zip"
        write_pack(path, model, None, expect(model.model, samples, deciding()))
        with opened(path) as checked:
            return run_pack(device, checked, options)
