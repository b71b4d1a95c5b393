"""Runs a test pack of edgeq where the model shall work, and tells what differs.

This file is part of every pack and needs nothing but Python 3.8, numpy and onnxruntime:

    python3 runner.py PACK.edgeq.zip

PACK may also be the unpacked folder. Exit code 0: every output is within its tolerance, 1: one is
not, 2: the pack could not be run.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import math
import os
import platform
import signal
import struct
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = 1
"""Newest version of the format that is understood."""

_KERNEL = "_kernel_time"
_TINY = 1e-300


class PackProblem(Exception):  # noqa: N818 - told to people, never caught by name elsewhere
    """The pack cannot be run here."""


class Pack:
    """A pack on this machine; whatever is read from it is held against its hash.

    Args:
        path: The .zip, or the folder it was unpacked to.
        scratch: A folder for what a session has to read from a file.

    Raises:
        PackProblem: It is no pack, or of a newer version.
    """

    def __init__(self, path: Path, scratch: Path) -> None:
        self._folder = path if path.is_dir() else None
        self._zip = None if path.is_dir() else zipfile.ZipFile(path)
        self._scratch = scratch
        self.manifest: dict[str, Any] = json.loads(self._bytes("manifest.json"))
        if self.manifest.get("format") != "edgeq-pack":
            raise PackProblem("this is not a pack of edgeq")
        if self.manifest["version"] > VERSION:
            raise PackProblem(
                f"the pack has format version {self.manifest['version']}, this runner knows "
                f"{VERSION}: take the runner that is in the pack"
            )

    def read(self, name: str) -> bytes:
        """The bytes of an entry.

        Raises:
            PackProblem: They are not what was packed.
        """
        data = self._bytes(name)
        if hashlib.sha256(data).hexdigest() != self.manifest["files"][name]["sha256"]:
            raise PackProblem(f"{name} is damaged: its hash differs from the manifest's")
        return data

    def array(self, name: str) -> Any:
        """The array in an entry."""
        return np.load(io.BytesIO(self.read(name)), allow_pickle=False)

    def model(self, files: list[str]) -> Path:
        """The path of a model, its data beside it; ``files`` are its entries, the model first."""
        for name in files:
            target = self._scratch / name
            target.parent.mkdir(exist_ok=True, parents=True)
            target.write_bytes(self.read(name))
        return self._scratch / files[0]

    def _bytes(self, name: str) -> bytes:
        if self._zip is not None:
            return self._zip.read(name)
        assert self._folder is not None  # noqa: S101 - one of the two is set
        return (self._folder / name).read_bytes()


class Meter:
    """Holds what a device answers against what was expected, sample by sample.

    Args:
        tolerance: ``absolute``: how far an element may be off, in the unit of the output;
            ``outliers``: the fraction of all elements that may be further off.
    """

    def __init__(self, tolerance: dict[str, Any]) -> None:
        self._allowed = float(tolerance["absolute"])
        self._outliers = float(tolerance["outliers"])
        self._elements = 0
        self._unequal = 0
        self._beyond = 0
        self._worst: dict[str, Any] | None = None
        self._wrong: str | None = None

    def add(self, sample: int, expected: Any, got: Any) -> None:
        """Compare one sample's output."""
        want, have = np.asarray(expected), np.asarray(got)
        if want.shape != have.shape or want.dtype != have.dtype:
            self._wrong = self._wrong or (
                f"sample {sample} has {have.dtype} {list(have.shape)} "
                f"instead of {want.dtype} {list(want.shape)}"
            )
            return
        self._elements += want.size
        difference = distance(want, have)
        self._unequal += int(np.count_nonzero(difference))
        self._beyond += int(np.count_nonzero(difference > self._allowed))
        if not want.size:
            return
        place = int(difference.argmax())
        if self._worst is None or difference.flat[place] > self._worst["difference"]:
            self._worst = {
                "difference": float(difference.flat[place]),
                "sample": sample,
                "index": [int(each) for each in np.unravel_index(place, want.shape)],
                "expected": want.flat[place].item(),
                "got": have.flat[place].item(),
            }

    def result(self) -> dict[str, Any]:
        """What was found."""
        within = self._beyond <= self._outliers * self._elements
        return {
            "passed": self._wrong is None and within,
            "elements": self._elements,
            "unequal": self._unequal,
            "beyond": self._beyond,
            "worst": self._worst,
            "problem": self._wrong,
        }


def distance(expected: Any, got: Any) -> Any:
    """Absolute differences, float64, shaped alike; equal infinities and NaNs do not differ."""
    want, have = expected.astype(np.float64), got.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.abs(want - have)
    same = (expected == got) | ((want != want) & (have != have))
    difference = np.where(same, 0.0, difference)
    # Integers may differ beyond the 53 bits of float64.
    difference = np.where(~same & (difference == 0.0), 1.0, difference)
    return np.where(np.isnan(difference), np.inf, difference)


class Closeness:
    """Signal-to-noise ratio of an output against the reference's, over all samples."""

    def __init__(self) -> None:
        self._signal = self._noise = 0.0

    def add(self, reference: Any, candidate: Any) -> None:
        """Compare one sample's output, shaped alike."""
        want = reference.astype(np.float64)
        self._signal += float(np.sum(want * want))
        self._noise += float(np.sum((want - candidate.astype(np.float64)) ** 2))

    def decibels(self) -> float | None:
        """10 log10(signal / noise), at most 200; None where nothing finite was compared."""
        if not (math.isfinite(self._signal) and math.isfinite(self._noise)) or not self._signal:
            return None
        return min(200.0, 10 * math.log10(self._signal / max(self._noise, _TINY)))


class Ran:
    """A model that runs here, and how long each run took.

    Args:
        path: Its file.
        threads: Threads inside an operator; 0 lets onnxruntime choose.
        profile: Beginning of the file for a profile; None for none.
        plugin: A provider to put it on; see :func:`_use_plugin`.
        shapes: Of the inputs, for providers that take fixed ones only.
    """

    def __init__(
        self,
        path: Path,
        threads: int,
        profile: Path | None,
        plugin: str | None = None,
        shapes: dict[str, tuple[int, ...]] | None = None,
    ) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(profile)
        try:
            if plugin is not None:
                _fix_shapes(options, path, shapes or {})
                _use_plugin(options, plugin)
                self._session = ort.InferenceSession(str(path), options)
            else:
                self._session = ort.InferenceSession(
                    str(path), options, providers=["CPUExecutionProvider"]
                )
        except PackProblem:
            raise
        except Exception as error:
            raise PackProblem(f"onnxruntime {ort.__version__} does not load it: {error}") from error
        self.seconds: list[float] = []
        self.outputs = [each.name for each in self._session.get_outputs()]

    def run(self, feed: dict[str, Any]) -> dict[str, Any]:
        """Run once; output name -> array."""
        start = time.perf_counter()
        try:
            found = self._session.run(self.outputs, feed)
        except Exception as error:
            raise PackProblem(f"the model does not run: {error}") from error
        self.seconds.append(time.perf_counter() - start)
        return {name: found[place] for place, name in enumerate(self.outputs)}

    def profile(self) -> list[dict[str, Any]]:
        """End the profile: microseconds of one run per node, the slowest first."""
        events = json.loads(Path(self._session.end_profiling()).read_text(encoding="utf-8"))
        return node_times(events, len(self.seconds))

    def latency(self) -> dict[str, Any]:
        """Milliseconds of a run; the first one is left out where there are more."""
        times = sorted(1e3 * each for each in (self.seconds[1:] or self.seconds))
        return {
            "median_ms": float(np.median(times)),
            "fastest_ms": times[0],
            "slowest_ms": times[-1],
            "runs": len(times),
        }


def _fix_shapes(options: Any, path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """Give dimensions that a model leaves open the sizes they have in the pack."""
    import onnxruntime as ort

    plain_options = ort.SessionOptions()
    plain_options.log_severity_level = 4
    plain_options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), plain_options, providers=["CPUExecutionProvider"])
    for port in session.get_inputs():
        for place, dim in enumerate(port.shape):
            if isinstance(dim, str) and port.name in shapes:
                options.add_free_dimension_override_by_name(dim, shapes[port.name][place])


def _use_plugin(options: Any, name: str) -> None:
    """Put a session on a provider that comes as a package of its own.

    ``qnn``: Qualcomm's, with the HTP backend; on x86-64 that is a simulator. The package is
    ``onnxruntime-qnn`` (https://onnxruntime.ai/docs/execution-providers/plugin-ep-libraries).
    """
    import onnxruntime as ort

    if name != "qnn":
        raise PackProblem(f"there is no provider {name!r}")
    try:
        import onnxruntime_qnn as package
    except ImportError as error:
        raise PackProblem("the package onnxruntime-qnn is not installed") from error
    ort.register_execution_provider_library("QNNExecutionProvider", package.get_library_path())
    devices = [each for each in ort.get_ep_devices() if each.ep_name == "QNNExecutionProvider"]
    if not devices:
        raise PackProblem("onnxruntime-qnn offers no device here")
    # Graphs are compiled for a chip; the simulator has none unless told: Snapdragon X Elite.
    chosen = {"backend_path": package.get_qnn_htp_path(), "soc_model": "60"}
    options.add_provider_for_devices(devices[:1], chosen)


def node_times(events: list[dict[str, Any]], runs: int) -> list[dict[str, Any]]:
    """Microseconds of one run per node, from onnxruntime's profile of ``runs`` runs."""
    spent: dict[tuple[str, str, str], float] = {}
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") != "Node" or not name.endswith(_KERNEL):
            continue
        told = event.get("args", {})
        key = (name[: -len(_KERNEL)], str(told.get("op_name")), str(told.get("provider")))
        spent[key] = spent.get(key, 0.0) + float(event["dur"])
    ranked = sorted(spent.items(), key=lambda item: -item[1])
    return [
        {
            "name": name,
            "op_type": op_type,
            "provider": provider,
            "microseconds": round(total / max(runs, 1), 2),
        }
        for (name, op_type, provider), total in ranked
    ]


def feeds(pack: Pack) -> Iterator[dict[str, Any]]:
    """Input name -> array, one dict a sample."""
    names = [each["name"] for each in pack.manifest["inputs"]]
    for sample in pack.manifest["samples"]:
        yield {name: pack.array(sample["inputs"][place]) for place, name in enumerate(names)}


def common_shapes(pack: Pack) -> dict[str, tuple[int, ...]]:
    """Shapes of the inputs that have the same one in all samples."""
    found: dict[str, set[tuple[int, ...]]] = {}
    for feed in feeds(pack):
        for name, array in feed.items():
            found.setdefault(name, set()).add(array.shape)
    return {name: next(iter(shapes)) for name, shapes in found.items() if len(shapes) == 1}


def check(pack: Pack, model: Ran, relative: float) -> list[dict[str, Any]]:
    """Run every sample once and compare every output.

    Args:
        pack: What to run.
        model: What runs.
        relative: Allowed at least, as a fraction of the largest value expected of an output.
    """
    if relative:
        allow(pack, relative)
    meters = {each["name"]: Meter(each["tolerance"]) for each in pack.manifest["outputs"]}
    for number, feed in enumerate(feeds(pack)):
        answer = model.run(feed)
        judge(pack, meters, number, answer)
    return results(pack, meters)


def allow(pack: Pack, relative: float) -> None:
    """Raise tolerances to a fraction of the largest value that is expected."""
    for place, output in enumerate(pack.manifest["outputs"]):
        arrays = (pack.array(sample["outputs"][place]) for sample in pack.manifest["samples"])
        largest = max(float(np.abs(each.astype(np.float64)).max(initial=0.0)) for each in arrays)
        if output["dtype"].startswith("float"):
            known = output["tolerance"]
            raised = max(float(known["absolute"]), relative * largest)
            output["tolerance"] = {**known, "kind": "relative", "absolute": raised}


def judge(pack: Pack, meters: dict[str, Meter], number: int, answer: dict[str, Any]) -> None:
    """Hold the answer to sample ``number`` against what was expected."""
    files = pack.manifest["samples"][number]["outputs"]
    for place, name in enumerate(meters):
        if name not in answer:
            raise PackProblem(f"the model gave no output {name!r}")
        meters[name].add(number, pack.array(files[place]), answer[name])


def results(pack: Pack, meters: dict[str, Meter]) -> list[dict[str, Any]]:
    """One row per output."""
    return [
        {"name": each["name"], "tolerance": each["tolerance"], **meters[each["name"]].result()}
        for each in pack.manifest["outputs"]
    ]


def hold_against_reference(pack: Pack, model: Ran, reference: Ran) -> list[dict[str, Any]]:
    """Closeness of the model to the float original, both run here."""
    meters = {each["name"]: Closeness() for each in pack.manifest["outputs"]}
    for feed in feeds(pack):
        want, got = reference.run(feed), model.run(feed)
        for name, meter in meters.items():
            if name in want and want[name].shape == got[name].shape:
                meter.add(want[name], got[name])
    return [{"name": name, "sqnr_db": meter.decibels()} for name, meter in meters.items()]


def time_in_turn(pack: Pack, models: list[Ran], seconds: float) -> None:
    """Run the models in turn until the time is over."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for feed in feeds(pack):
            for model in models:
                if time.perf_counter() >= end:
                    return
                model.run(feed)


def run_pack(path: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Run a pack; what was found, ready for JSON.

    Raises:
        PackProblem: It cannot be run here.
    """
    with tempfile.TemporaryDirectory(prefix="edgeq-", dir=asked.scratch) as folder:
        scratch = Path(folder)
        pack = Pack(path, scratch)
        found = pack.manifest["model"]
        file = pack.model(found["files"])
        shapes = common_shapes(pack) if asked.plugin else None
        model = Ran(file, asked.threads, scratch / "profile", asked.plugin, shapes)
        outputs = check(pack, model, asked.relative)
        nodes = model.profile()
        if asked.plugin and all(node["provider"] == "CPUExecutionProvider" for node in nodes):
            raise PackProblem("the provider takes no node of this model, all would run on the CPU")
        reference, closeness = pack.manifest.get("reference"), None
        running = [model]
        if reference is not None:
            running.append(Ran(pack.model(reference["files"]), asked.threads, None))
            closeness = hold_against_reference(pack, model, running[1])
        time_in_turn(pack, running, asked.seconds)
        return {
            "schema": 1,
            "passed": all(each["passed"] for each in outputs),
            "outputs": outputs,
            "latency": model.latency(),
            "reference": None
            if closeness is None
            else {"latency": running[1].latency(), "outputs": closeness},
            "kernels": kernels(nodes),
            "nodes": nodes if asked.profile else None,
            "peak_memory_mb": peak_memory_mb(),
            **environment(),
        }


def kernels(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many nodes of each kind ran, most frequent first."""
    counted: dict[tuple[str, str], int] = {}
    for node in nodes:
        key = (node["op_type"], node["provider"])
        counted[key] = counted.get(key, 0) + 1
    ranked = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return [{"op_type": op, "provider": who, "nodes": count} for (op, who), count in ranked]


def peak_memory_mb() -> float | None:
    """Largest resident size of this process in MB (10^6 bytes); None where nobody tells."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round((peak if sys.platform == "darwin" else peak * 1024) / 1e6, 1)


def environment() -> dict[str, Any]:
    """Versions and processor."""
    import onnxruntime as ort

    return {
        "runtime": {"name": "onnxruntime", "version": ort.__version__},
        "python": platform.python_version(),
        "numpy": np.__version__,
        "cpu": {
            "machine": platform.machine(),
            "system": platform.system(),
            "features": cpu_features(),
        },
    }


_ARM64_BITS = {
    16: {10: "ASIMDHP", 20: "ASIMDDP", 22: "SVE"},
    26: {1: "SVE2", 13: "I8MM", 14: "BF16", 23: "SME"},
}
"""AT_HWCAP and AT_HWCAP2 of arm64 (linux/arch/arm64/include/uapi/asm/hwcap.h)."""


def cpu_features() -> list[str]:
    """What decides between kernels, as numpy and the kernel tell it: DOTPROD, I8MM, VNNI, ..."""
    found: set[str] = set()
    with contextlib.suppress(Exception):
        core = getattr(np, "_core", None) or np.core
        known = core._multiarray_umath.__cpu_features__  # noqa: SLF001 - nothing public tells it
        found |= {name for name, there in known.items() if there}
    if platform.machine() == "aarch64":
        with contextlib.suppress(OSError, struct.error):
            words = Path("/proc/self/auxv").read_bytes()
            for key, value in struct.iter_unpack("<QQ", words):
                bits = _ARM64_BITS.get(key, {})
                found |= {name for bit, name in bits.items() if value >> bit & 1}
    return sorted(found)


def plain(value: Any) -> Any:
    """The document with numbers that JSON has no word for as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value


def told(found: dict[str, Any]) -> str:
    """What was found, for people."""
    lines = []
    for row in found["outputs"]:
        worst = row["worst"]
        where = row["problem"] or "no elements"
        if worst is not None and not row["problem"]:
            where = (
                f"worst difference {worst['difference']:.6g} (sample {worst['sample']}, "
                f"index {worst['index']}: {worst['got']} instead of {worst['expected']}), "
                f"allowed {row['tolerance']['absolute']:.6g}"
            )
        lines.append(f"{'pass' if row['passed'] else 'FAIL'}  {row['name']}: {where}")
    lines.append(f"median {found['latency']['median_ms']:.3f} ms, {found['runtime']['version']}")
    return "\n".join(lines) + "\n"


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Run a test pack of edgeq.")
    parser.add_argument("pack", type=Path)
    parser.add_argument("--output", type=Path, help="write what was found as JSON")
    parser.add_argument("--profile", action="store_true", help="with the time of every node")
    parser.add_argument("--seconds", type=float, default=1.0, help="to measure latency for")
    parser.add_argument("--threads", type=int, default=0, help="inside an operator, 0: all")
    parser.add_argument("--limit", type=int, default=0, help="give up after so many seconds")
    parser.add_argument("--scratch", help="a folder for temporary files")
    parser.add_argument(
        "--relative", type=float, default=0.0, help="allow this of the largest value"
    )
    parser.add_argument("--plugin", help="a provider from a package of its own: qnn")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run; the exit code."""
    asked = parsed(arguments)
    # onnxruntime 1.29 and later keep a data base in the home folder and report on models otherwise.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    if asked.limit and hasattr(signal, "alarm"):
        # Ends the process also in the middle of a kernel, where Python cannot look.
        signal.alarm(asked.limit)
    try:
        found = run_pack(asked.pack, asked)
    except (
        PackProblem,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        ImportError,
        zipfile.BadZipFile,
    ) as error:
        found = {"schema": 1, "error": " ".join(str(error).split()) or type(error).__name__}
    document = json.dumps(plain(found), indent=1)
    if asked.output is not None:
        asked.output.write_text(document, encoding="utf-8")
    if "error" in found:
        sys.stderr.write(f"error: {found['error']}\n")
        return 2
    sys.stdout.write(told(found))
    return 0 if found["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
