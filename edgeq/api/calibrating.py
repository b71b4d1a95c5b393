"""From a float model and samples to a calibration table: in one process or on many machines."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import TYPE_CHECKING

from edgeq.api.distributing import Task, cluster, portable, run_tasks, split
from edgeq.api.grounding import PROOF_SAMPLES, Ground, lay_ground, load
from edgeq.api.measuring import input_specs
from edgeq.api.options import resolve_recipe, with_floats
from edgeq.api.stages import Stages
from edgeq.api.tables import opened
from edgeq.calibration.collection import Collection
from edgeq.calibration.collector import Collector, SampleStream
from edgeq.calibration.discovery import AUTO
from edgeq.calibration.manifest import Facts
from edgeq.calibration.origin import Draw, sample_digest
from edgeq.calibration.sources import open_source
from edgeq.calibration.table import table_of
from edgeq.errors import CalibrationError, EdgeqError, RecipeError
from edgeq.progress import Silent
from edgeq.quantization.ranges import calibrators_for, required_kinds
from edgeq.targets import target_named

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor
    from pathlib import Path

    from edgeq.calibration.contract import StatisticKind
    from edgeq.calibration.sources import SampleSource
    from edgeq.calibration.table import CalibrationTable
    from edgeq.graph.loader import LoadedModel
    from edgeq.progress import Progress
    from edgeq.recipe import Recipe
    from edgeq.targets import TargetProfile
    from edgeq.types import Sample

CHECKPOINT_SECONDS = 60.0
"""Time between two tables that are handed to ``checkpoint``."""

_PLACES = ("in the table", "here")


def calibrate(
    model: object,
    calibration_data: object,
    *,
    target: str = "cpu",
    recipe: Recipe | str | Path | None = None,
    exclude: Sequence[str] = (),
    max_samples: int | None = None,
    threads: int = 0,
    seed: int | None = None,
    shard: tuple[int, int] | None = None,
    executor: Executor | None = None,
    dask: str | None = None,
    resume: CalibrationTable | str | os.PathLike[str] | None = None,
    checkpoint: Callable[[CalibrationTable], None] | None = None,
    stop: Callable[[], bool] | None = None,
    progress: Progress | None = None,
) -> CalibrationTable:
    """Run a model over samples and save what every calibrator needs to know.

    The table is the same, to the bit, whether one process read the samples or several did, in one
    go or with interruptions, on machines whose onnxruntime computes the same bits.

    Args:
        model: As for :func:`edgeq.quantize`. A path, bytes or an ``onnx.ModelProto`` where others
            do the work.
        calibration_data: As for :func:`edgeq.quantize`. A path, a reference or a list where others
            do the work; the workers have to find it under the same path.
        target: Name of the target profile that the table is for.
        recipe: Choices, or the file that holds them; its calibrator does not matter here.
        exclude: Patterns of node names and op types that stay float, beside the recipe's.
        max_samples: Samples to read at most, shards taken together.
        threads: Threads of onnxruntime; 0 lets it choose.
        seed: Seed of the sample of the data that the table keeps; overrides the recipe's, 0 by
            default.
        shard: ``(i, n)``: only the samples whose index divided by n leaves the rest i.
        executor: Does the work in parts, as a ``concurrent.futures.ProcessPoolExecutor`` or
            Dask's ``client.get_executor()`` do.
        dask: Address of a Dask scheduler whose workers do the work.
        resume: A table of the same run that was interrupted; its samples are not read again.
        checkpoint: Given the unfinished table about once a minute.
        stop: Asked between samples; once it says yes, the unfinished table is returned.
        progress: Listens to the run.

    Returns:
        The table. Look at ``complete`` if you gave ``stop``.

    Raises:
        EdgeqError: See :mod:`edgeq.errors`; the message says what to do.
    """
    if executor is not None and dask is not None:
        raise RecipeError("an executor and a Dask cluster were given", remedy="Give one of them")
    chosen = resolve_recipe(recipe, None, exclude).with_changes(seed=seed)
    run = _Run(
        target=with_floats(target_named(target), chosen),
        recipe=chosen,
        max_samples=max_samples,
        threads=threads,
        seed=chosen.seed or 0,
        shard=_checked_shard(shard),
        stop=stop or (lambda: False),
        checkpoint=checkpoint or (lambda _: None),
        progress=progress or Silent(),
    )
    earlier = None if resume is None else opened(resume)
    if dask is not None:
        with cluster(dask) as workers:
            return run.distributed(model, calibration_data, workers, earlier)
    if executor is not None:
        return run.distributed(model, calibration_data, executor, earlier)
    return run.here(model, calibration_data, earlier)


def _checked_shard(shard: tuple[int, int] | None) -> tuple[int, int]:
    if shard is None:
        return (0, 1)
    number, count = shard
    if not 0 <= number < count:
        raise RecipeError(
            f"there is no shard {number} of {count}",
            where="shard",
            remedy="Shards count from 0: with 4 of them, 0 to 3",
        )
    return number, count


def run_task(task: Task) -> bytes:
    """Calibrate a shard for somebody else; the content of its table.

    Raises:
        EdgeqError: As :func:`calibrate`.
    """
    run = _Run(
        target=with_floats(target_named(task.target), task.recipe),
        recipe=task.recipe,
        max_samples=task.max_samples,
        threads=task.threads,
        seed=task.seed,
        shard=task.shard,
        done=frozenset(task.done),
        remembers=True,
    )
    return run.here(task.model, task.data, None).to_bytes()


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What a run is asked to do."""

    target: TargetProfile
    recipe: Recipe
    max_samples: int | None
    threads: int
    seed: int
    shard: tuple[int, int]
    done: frozenset[int] = frozenset()
    stop: Callable[[], bool] = lambda: False
    checkpoint: Callable[[CalibrationTable], None] = lambda _: None
    progress: Progress = field(default_factory=Silent)
    remembers: bool = False

    def here(
        self, model: object, data: object, earlier: CalibrationTable | None
    ) -> CalibrationTable:
        """Read the samples in this process."""
        done = self.done | _indices(earlier)
        number, count = self.shard

        def mine(index: int) -> bool:
            return index % count == number and index not in done

        begun = self._begin(model, data, lambda index: index < PROOF_SAMPLES or mine(index))
        with closing(begun.stream):
            return self._collected(begun, mine, earlier)

    def _collected(
        self, begun: _Begun, mine: Callable[[int], bool], earlier: CalibrationTable | None
    ) -> CalibrationTable:
        kept = self._continued(begun, earlier)
        if earlier is not None and earlier.complete:
            return earlier
        collector = Collector(
            begun.ground.prepared.model,
            begun.ground.observed,
            _kinds(),
            threads=self.threads,
            seed=self.seed,
        )
        complete = self._see_all(begun, collector, mine, kept)
        return begun.table(kept.merge(collector.collection()), complete=complete)

    def _see_all(
        self,
        begun: _Begun,
        collector: Collector,
        mine: Callable[[int], bool],
        kept: Collection,
    ) -> bool:
        """Read the samples; whether none is left."""

        def so_far() -> CalibrationTable:
            return begun.table(kept.merge(collector.collection()), complete=False)

        pace, total, seen = _Pace(self.checkpoint), self._total(begun), kept.samples
        with begun.stages.stage("calibrate"):
            try:
                for index, sample in begun.stream:
                    if not mine(index):
                        continue
                    if self.stop():
                        return False
                    collector.see(index, sample)
                    seen += 1
                    self.progress.samples(seen, total)
                    pace.maybe(so_far)
            except EdgeqError:
                # A damaged file among thousands: once it is mended, the run can go on.
                if collector.collection().samples:
                    self.checkpoint(so_far())
                raise
        return True

    def _total(self, begun: _Begun) -> int | None:
        number, count = self.shard
        length = begun.source.length_hint()
        return None if length is None else len(range(number, length, count))

    def distributed(
        self, model: object, data: object, executor: Executor, earlier: CalibrationTable | None
    ) -> CalibrationTable:
        """Have the samples read by others, in parts."""
        model, data = portable(model, data)
        begun = self._begin(model, data, lambda index: index < PROOF_SAMPLES)
        # Before there are processes: a thread that reads ahead has no place in a fork.
        begun.stream.close()
        found = self._continued(begun, earlier)
        if earlier is not None and earlier.complete:
            return earlier
        done, length = _indices(earlier), begun.source.length_hint()
        tasks = [
            Task(
                model, data, self.target.name, self.recipe, self.max_samples, self.threads,
                self.seed, shard, tuple(sorted(i for i in done if i % shard[1] == shard[0])),
            )
            for shard in split(self.shard, executor, length)
        ]  # fmt: skip
        pace, total, finished = _Pace(self.checkpoint), self._total(begun), 0
        with begun.stages.stage("calibrate"):
            for part in run_tasks(executor, run_task, tasks, self.stop):
                begun.require_same_run(part)
                found = found.merge(part.collection)
                finished += 1
                self.progress.samples(found.samples, total)
                pace.maybe(lambda found=found: begun.table(found, complete=False))  # type: ignore[misc]
        return begun.table(found, complete=finished == len(tasks))

    def _begin(self, model: object, data: object, wanted: Callable[[int], bool]) -> _Begun:
        stages = Stages(self.progress)
        with stages.stage("load"):
            loaded = load(model)
            source = open_source(data, input_specs(loaded.model), max_samples=self.max_samples)
            stream = SampleStream(source.indexed(wanted))
            first = [sample for _, sample in stream.peek(PROOF_SAMPLES)]
        with stages.stage("prepare"):
            lay = _remembered_ground if self.remembers else lay_ground
            ground = lay(loaded, first, self.target, self.recipe, threads=self.threads)
        number, count = self.shard
        facts = Facts(
            origin=ground.origin,
            draw=Draw(sample_digest(first), source.length_hint(), self.max_samples, self.seed),
            values=ground.notes(),
            shards=(number,),
            shard_count=count,
            description=source.description,
            assumptions=(),
            versions={name: (version(name),) for name in ("edgeq", "onnxruntime")},
        )
        return _Begun(ground, first, source, stream, facts, stages)

    def _continued(self, begun: _Begun, earlier: CalibrationTable | None) -> Collection:
        """What is there already, where it is of this very run."""
        if earlier is None:
            return Collection.empty(begun.ground.observed, _kinds(), self.seed)
        facts = begun.facts
        difference = earlier.facts.difference(facts, _PLACES)
        if difference is None and earlier.facts.shards != facts.shards:
            difference = f"the shard is {earlier.facts.shards} in the table, {facts.shards} here"
        if difference is not None:
            raise CalibrationError(
                f"the run cannot go on, the table is of another one: {difference}",
                where="resume",
                remedy="Give the same model, data and options, or start anew without --resume",
            )
        return earlier.collection


@dataclass(frozen=True, slots=True)
class _Begun:
    """A run that is prepared."""

    ground: Ground
    first: Sequence[Sample]
    source: SampleSource
    stream: SampleStream[tuple[int, Sample]]
    facts: Facts
    stages: Stages

    def table(self, collection: Collection, *, complete: bool) -> CalibrationTable:
        """The table of what was found so far."""
        facts = replace(self.facts, assumptions=tuple(sorted(self.source.assumptions)))
        return table_of(facts, collection, self.first, complete=complete)

    def require_same_run(self, part: CalibrationTable) -> None:
        """Refuse what a worker found that has another model, other data or another edgeq.

        Raises:
            CalibrationError: It does, and this is the difference.
        """
        one = replace(self.facts, shard_count=part.facts.shard_count)
        difference = one.difference(part.facts, ("here", "there"))
        if difference is not None:
            raise CalibrationError(
                f"a worker prepared something else: {difference}",
                remedy="Install the same versions of edgeq and its dependencies everywhere, and "
                "make sure that the workers see the same files",
            )


_REMEMBERED: dict[object, Ground] = {}


def _remembered_ground(
    loaded: LoadedModel,
    first: Sequence[Sample],
    target: TargetProfile,
    recipe: Recipe,
    *,
    threads: int = 0,
) -> Ground:
    """What :func:`lay_ground` returned the last time, if that was for the same.

    A worker does several parts of a run, and preparing a large model takes longer than many a part.
    """
    key = (loaded.sha256, sample_digest(first), target.name, recipe, threads)
    ground = _REMEMBERED.get(key)
    if ground is None:
        ground = lay_ground(loaded, first, target, recipe, threads=threads)
        _REMEMBERED.clear()
        _REMEMBERED[key] = ground
    return ground


class _Pace:
    """Hands over unfinished tables, not too often."""

    def __init__(self, checkpoint: Callable[[CalibrationTable], None]) -> None:
        self._checkpoint = checkpoint
        self._last = time.monotonic()

    def maybe(self, make: Callable[[], CalibrationTable]) -> None:
        """Hand one over if it is time."""
        if time.monotonic() - self._last >= CHECKPOINT_SECONDS:
            self._checkpoint(make())
            # Counted from the end: saving a large table takes a while.
            self._last = time.monotonic()


def _kinds() -> frozenset[StatisticKind]:
    """What all installed calibrators read, so that one of them can be chosen later."""
    return required_kinds(calibrators_for(AUTO))


def _indices(table: CalibrationTable | None) -> frozenset[int]:
    return frozenset() if table is None else frozenset(table.collection.indices.tolist())
