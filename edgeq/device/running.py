"""Runs a pack on a device that is ready, and brings back what that showed."""

from __future__ import annotations

import json
import re
import signal
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeq.calibration.sources.npy import load_npy
from edgeq.device import pack, runner
from edgeq.device.telling import in_our_words, result_of
from edgeq.errors import DataError, DeviceError
from edgeq.graph import loader
from edgeq.targets.releases import OLDEST, needed, release_in

if TYPE_CHECKING:
    from edgeq.device.devices import Device
    from edgeq.device.process import Completed
    from edgeq.device.reading import CheckedPack
    from edgeq.device.result import DeviceResult
    from edgeq.targets.releases import Need, Release

_RESULT: Final = "result.json"
_FULL: Final = "no space left"
_RESULT_BYTES: Final = 256_000_000
_REFUSED_BY: Final = re.compile(r"onnxruntime (\S+) does not load")
"""How our runner tells it."""
_GRACE: Final = 30
"""Seconds that a device gets to end by itself before the connection is cut."""

_MALFORMED: Final = (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a pack runs.

    Attributes:
        seconds: To measure latency for; emulated devices do not.
        threads: Threads inside an operator; 0 lets the runtime choose.
        profile: Whether to bring back the time of every node.
        timeout: Seconds after which the device is given up.
    """

    seconds: float = 1.0
    threads: int = 0
    profile: bool = False
    timeout: float = 900.0


def run_pack(device: Device, checked: CheckedPack, options: RunOptions) -> DeviceResult:
    """Run a pack; nothing stays on the device.

    Raises:
        DeviceError: It could not be run there.
    """
    with (
        tempfile.TemporaryDirectory(prefix="edgeq-back-") as scratch,
        device.transport.folder() as folder,
    ):
        answer = _answers if device.program else _runs
        result = answer(device, checked, options, folder, Path(scratch))
    return replace(result, notes=(*result.notes, *_notes(device, checked, result)))


def _runs(
    device: Device, checked: CheckedPack, options: RunOptions, folder: str, scratch: Path
) -> DeviceResult:
    """Have our runner run and compare there.

    Never the runner in the pack: packs come from strangers.
    """
    there = device.transport
    there.put(Path(runner.__file__), f"{folder}/{pack.RUNNER}")
    there.put(checked.archive, f"{folder}/pack.zip")
    words = [*device.command, f"{folder}/{pack.RUNNER}", f"{folder}/pack.zip"]
    words += ["--output", f"{folder}/{_RESULT}", "--scratch", folder, *device.arguments]
    words += ["--seconds", f"{0 if device.emulated else options.seconds:g}"]
    # Threads of an emulator spin for each other longer than they compute.
    threads = options.threads or int(device.emulated)
    words += ["--threads", str(threads), "--limit", str(int(options.timeout))]
    words += ["--profile"] if options.profile else []
    done = there.run(words, options.timeout + _GRACE)
    if done.code not in (0, 1, 2):
        raise _died(device, done, options)
    document = _brought_back(device, folder, scratch, done)
    if "error" in document:
        raise _refused(device, checked, str(document["error"]))
    result = _parsed(device, lambda: result_of(device, document))
    sha256 = checked.manifest["model"].get("sha256")
    return replace(result, model_sha256=sha256 if isinstance(sha256, str) else None)


def _answers(
    device: Device, checked: CheckedPack, options: RunOptions, folder: str, scratch: Path
) -> DeviceResult:
    """Have a program answer every sample there, and compare here."""
    there = device.transport
    words = list(device.command)
    if device.carried is not None:
        words[-1] = f"{folder}/runner"
        there.put(device.carried, words[-1])
    elif device.command[-1] == pack.WEB_RUNNER:
        words[-1] = f"{folder}/{pack.WEB_RUNNER}"
        there.put(Path(__file__).with_name(pack.WEB_RUNNER), words[-1])
    names = sorted([pack.MANIFEST, *checked.manifest["files"]])
    folders = {f"{folder}/pack/{name}".rpartition("/")[0] for name in names}
    _must(device, ["mkdir", "-p", f"{folder}/results", *sorted(folders)])
    if device.carried is not None:
        _must(device, ["chmod", "755", words[-1]])
    for name in names:
        there.put(checked.folder / name, f"{folder}/pack/{name}")
    seconds = "0" if device.emulated else f"{options.seconds:g}"
    words += [f"{folder}/pack", f"{folder}/results", *device.arguments]
    words += [seconds] if device.command[-1] == pack.WEB_RUNNER else []
    done = there.run(words, options.timeout)
    if done.code:
        raise _refused(device, checked, done.complaint.removeprefix("error: "))
    document = _brought_back(device, f"{folder}/results", scratch, done)
    outputs = _compared(device, checked, f"{folder}/results", scratch)
    result = _parsed(
        device, lambda: result_of(device, {**in_our_words(document), "outputs": outputs})
    )
    return result if options.profile else replace(result, nodes=None)


def _must(device: Device, words: list[str]) -> None:
    done = device.transport.run(words, _GRACE)
    if done.code:
        raise DeviceError(
            f"{words[0]} failed there: {done.complaint}",
            where=device.address.text,
            remedy="Check free space and permissions there",
        )


def _compared(
    device: Device, checked: CheckedPack, results: str, scratch: Path
) -> list[dict[str, Any]]:
    """Hold arrays from the device against those of the pack."""
    opened = runner.Pack(checked.folder, scratch)
    ports = opened.manifest["outputs"]
    meters = {port["name"]: runner.Meter(port["tolerance"]) for port in ports}
    for number in range(len(opened.manifest["samples"])):
        answer = {}
        for place, name in enumerate(meters):
            file = scratch / f"{number:03}-{place}.npy"
            device.transport.get(f"{results}/{number:03}/{place}.npy", file)
            try:
                answer[name] = load_npy(file)
            except DataError as error:
                raise _nonsense(device) from error
            file.unlink()
        runner.judge(opened, meters, number, answer)
    return runner.results(opened, meters)


def _brought_back(device: Device, folder: str, scratch: Path, done: Completed) -> dict[str, Any]:
    file = scratch / _RESULT
    try:
        device.transport.get(f"{folder}/{_RESULT}", file)
    except DeviceError as error:
        if _FULL in done.stderr.lower():
            raise _disk_full(device) from error
        raise DeviceError(
            f"it gave no result: {done.complaint}",
            where=device.address.text,
            remedy="Run the pack by hand there: python3 runner.py PACK",
        ) from error
    if file.stat().st_size > _RESULT_BYTES:
        raise _nonsense(device)
    try:
        document = json.loads(file.read_bytes())
    except _MALFORMED as error:
        raise _nonsense(device) from error
    if not isinstance(document, dict):
        raise _nonsense(device)
    return document


def _parsed(device: Device, make: Any) -> DeviceResult:
    try:
        result: DeviceResult = make()
    except _MALFORMED as error:
        raise _nonsense(device) from error
    return result


def _notes(device: Device, checked: CheckedPack, result: DeviceResult) -> list[str]:
    notes = []
    made = checked.made_with.get("onnxruntime")
    if made and result.runtime.get("version") != made:
        notes.append(
            f"The device has {result.runtime.get('name')} {result.runtime.get('version')}, the "
            f"pack was made with onnxruntime {made}: kernels may round differently"
        )
        there = release_in(result.runtime.get("version", ""))
        known = result.runtime.get("name", "").startswith("onnxruntime") and there is not None
        need = _needed(checked, there) if known else None
        if need is not None:
            notes.append(f"The model needs {need}: what an older one answers may be wrong")
    if device.address.scheme == "qnn":
        on_cpu = [each.nodes for each in result.kernels or () if each.provider.startswith("CPU")]
        notes.append(f"{sum(on_cpu)} nodes ran on the CPU: the simulator does not take them")
    if device.emulated:
        notes.append("Emulated: the numbers count, times and memory do not")
    return notes


def _died(device: Device, done: Completed, options: RunOptions) -> DeviceError:
    code = -done.code if done.code < 0 else done.code - 128
    name = signal.Signals(code).name if code in set(signal.Signals) else f"exit code {done.code}"
    said = {
        "SIGALRM": (
            f"it did not finish within {options.timeout:g} s",
            "Give it more time with --timeout, or pack fewer samples",
        ),
        "SIGKILL": ("the runner was killed: out of memory, likely", "Free memory there"),
        "SIGILL": (
            "onnxruntime there uses instructions that the processor does not have",
            "Install a build for this processor",
        ),
    }
    what, remedy = said.get(
        name, (f"the runner ended with {name}: {done.complaint}", "Run the pack there by hand")
    )
    return DeviceError(what, where=device.address.text, remedy=remedy)


def _refused(device: Device, checked: CheckedPack, said: str) -> DeviceError:
    if _FULL in said.lower():
        return _disk_full(device)
    made = checked.made_with.get("onnxruntime", "another version")
    version = _REFUSED_BY.match(said)
    need = _needed(checked, None if version is None else release_in(version[1]))
    return DeviceError(
        f"the pack does not run there: {said[:400]}",
        where=device.address.text,
        remedy=f"The pack was made with onnxruntime {made}: use that version there, or a model of "
        "an older opset"
        if need is None
        else f"The model needs {need}: update it there",
    )


def _needed(checked: CheckedPack, there: Release | None) -> Need | None:
    """The onnxruntime that the model needs, where that is newer than what is there.

    Args:
        checked: The pack.
        there: The release on the device; None where it is not known: the oldest that edgeq takes.
    """
    model = loader.load(checked.folder / pack.MODEL).model
    return needed(model, beyond=there or OLDEST)


def _disk_full(device: Device) -> DeviceError:
    return DeviceError(
        "its disk is full",
        where=device.address.text,
        remedy="Free some space in the folder for temporary files there",
    )


def _nonsense(device: Device) -> DeviceError:
    return DeviceError(
        "it answered with something that is no result",
        where=device.address.text,
        remedy="Check the program that runs there",
    )
