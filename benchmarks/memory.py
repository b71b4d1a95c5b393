"""Peak memory of calibration over that of a plain pass, for few and for many samples.

    python benchmarks/memory.py SET [--models A,B] [--samples 64,2000] [--threads 1]

Each figure comes from a process of its own that loads and prepares the model and then collects
statistics for all calibrators from a generator, which repeats the set's samples as often as
needed. The plain pass, in such a process too, runs the original model over the first number of
samples instead. "Over plain" is the greatest peak of calibration less that of the plain pass. The
peak is the resident size of the whole process while it collects; where the system
cannot reset that mark (only Linux can), it is the peak since the start.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from calibration import Calibration
from common import cycled, machine, parser, read_set, table

from edgeq.api.stages import peak_rss_mb
from edgeq.runtime.session import Session, SessionConfig

COLLECT, PLAIN = "collect", "plain"
_DISTINCT = 32
"""Samples that are read from the set and repeated."""


def main() -> None:
    """Measure and print a table, or, as a child, one figure."""
    line = parser(__doc__)
    line.add_argument("--samples", default="64,2000", help="counts, separated by commas")
    line.add_argument("--child", choices=(COLLECT, PLAIN), help="measure in this process")
    given = line.parse_args()
    counts = [int(count) for count in given.samples.split(",")]
    entries = read_set(given.set, given.models)
    if given.child:
        print(json.dumps(_measured(entries[0].folder, counts[0], given.threads, given.child)))
        return
    print(f"Peak memory of calibration; {machine()}, {given.threads} threads\n")
    collecting = [f"{count} samples, MB" for count in counts]
    header = ["model", "plain pass, MB", *collecting, "over plain, MB", "growth"]
    rows = []
    for entry in entries:
        plain = _in_child(entry.folder, counts[0], given.threads, PLAIN)
        peaks = [_in_child(entry.folder, count, given.threads, COLLECT) for count in counts]
        shown = [f"{peak:.1f}" for peak in (plain, *peaks, max(peaks) - plain)]
        rows.append([entry.name, *shown, f"{100 * (max(peaks) / min(peaks) - 1):.1f} %"])
    print(table(header, rows))


def _in_child(folder: Path, count: int, threads: int, what: str) -> float:
    command = [sys.executable, __file__, str(folder.parent), "--models", folder.name]
    command += ["--samples", str(count), "--threads", str(threads), "--child", what]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(json.loads(done.stdout))


def _measured(folder: Path, count: int, threads: int, what: str) -> float:
    entry = read_set(folder.parent, folder.name)[0]
    samples = entry.samples(_DISTINCT)
    calibration = Calibration(entry, samples, threads)
    resettable = _reset_peak()
    if what == PLAIN:
        session = Session(entry.model, SessionConfig(threads))
        for sample in cycled(samples, count):
            session.run(sample)
    else:
        calibration.collect(cycled(samples, count))
    return _peak_since_reset() if resettable else peak_rss_mb()


def _reset_peak() -> bool:
    """Lower the kernel's mark of the peak to the current size; whether that worked."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _peak_since_reset() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return peak_rss_mb()


if __name__ == "__main__":
    main()
