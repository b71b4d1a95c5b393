"""A table is the same however the samples were read, and stands for them when quantizing."""

import multiprocessing
import os
import signal
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor

import models
import numpy as np
import onnx
import pytest

import edgeq
from edgeq.api import calibrating, distributing
from edgeq.errors import (
    CalibrationError,
    DataError,
    DeviceError,
    EdgeqError,
    RecipeError,
    UnsupportedError,
)
from edgeq.graph import saver
from edgeq.recipe import Recipe

SAMPLES = models.images(24)


def calibrate(data=SAMPLES, model=None, **options):
    return edgeq.calibrate(model or models.conv_net(), data, threads=1, **options)


@pytest.fixture(scope="module")
def whole():
    return calibrate()


class Stopping:
    """Says stop once it was asked ``after`` times."""

    def __init__(self, after):
        self.left = after

    def __call__(self):
        self.left -= 1
        return self.left < 0


class Here(Executor):
    """Runs at once, in this process; fails as told."""

    def __init__(self, failures=()):
        self.failures = list(failures)
        self.ran = 0
        self._max_workers = 2

    def submit(self, run, *args):
        future = Future()
        self.ran += 1
        try:
            failure = self.failures.pop(0) if self.failures else None
            if failure is None:
                future.set_result(run(*args))
            else:
                future.set_exception(failure)
        except EdgeqError as error:
            future.set_exception(error)
        return future


class Slow(Here):
    """Finishes one task and then no other."""

    def submit(self, run, *args):
        return Future() if self.ran else super().submit(run, *args)


def test_a_table_says_what_it_is_of(whole):
    assert whole.whole
    assert whole.collection.samples == len(whole.collection.kept) == 24
    assert [note.name for note in whole.facts.values] == [
        "image", "trunk", "positive", "sum", "pooled"
    ]  # fmt: skip
    assert whole.facts.values[1].producer == "Relu"
    assert whole.facts.origin.target == "cpu"


@pytest.mark.parametrize("count", [2, 5])
def test_shards_are_what_one_run_finds(whole, count):
    shards = [calibrate(shard=(number, count)) for number in reversed(range(count))]
    assert sum(shard.collection.samples for shard in shards) == 24
    assert edgeq.merge_tables(*shards).to_bytes() == whole.to_bytes()


def test_there_may_be_more_shards_than_samples():
    shards = [calibrate(SAMPLES[:3], shard=(number, 5)) for number in range(5)]
    assert [shard.collection.samples for shard in shards] == [1, 1, 1, 0, 0]
    assert edgeq.merge_tables(*shards).to_bytes() == calibrate(SAMPLES[:3]).to_bytes()


@pytest.mark.parametrize("after", [1, 11])
def test_an_interrupted_run_goes_on_to_the_same_table(whole, after, tmp_path):
    part = calibrate(stop=Stopping(after))
    assert not part.complete
    assert part.collection.indices.tolist() == list(range(after))
    part.save(tmp_path / "t.calib")
    read = []
    again = calibrate(_counted(read), resume=tmp_path / "t.calib")
    assert len(read) == 24
    # A list tells its length beforehand, a generator does not.
    assert again.collection.samples == 24


def _counted(read):
    class Counted(list):
        def __iter__(self):
            return (read.append(1) or each for each in super().__iter__())

    return Counted(SAMPLES)


@pytest.mark.parametrize("after", [3, 10])
def test_interruptions_leave_no_trace(whole, after, tmp_path):
    part = calibrate(stop=Stopping(after))
    part = calibrate(stop=Stopping(after), resume=part)
    assert part.collection.samples == 2 * after
    assert calibrate(resume=part).to_bytes() == whole.to_bytes()
    assert calibrate(resume=whole).to_bytes() == whole.to_bytes()


def test_an_interrupted_shard_goes_on(whole):
    part = calibrate(shard=(1, 2), stop=Stopping(5))
    assert part.collection.indices.tolist() == [1, 3, 5, 7, 9]
    shards = [calibrate(shard=(1, 2), resume=part), calibrate(shard=(0, 2))]
    assert edgeq.merge_tables(*shards).to_bytes() == whole.to_bytes()
    with pytest.raises(CalibrationError, match="number of shards is 2 in the table and 1 here"):
        calibrate(resume=part)
    with pytest.raises(CalibrationError, match=r"the shard is \(1,\) in the table"):
        calibrate(shard=(0, 2), resume=part)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"data": models.images(24, seed=5)}, "the hash of the first samples"),
        ({"data": SAMPLES[:20]}, "the number of samples is 24 in the table and 20 here"),
        ({"max_samples": 24}, "max_samples is not given in the table and 24 here"),
        ({"seed": 3}, "the seed is 0 in the table and 3 here"),
        ({"exclude": ["head"]}, "exclude is empty in the table and 'head' here"),
        ({"model": models.conv_net(opset=15)}, "the hash of the model"),
    ],
)
def test_a_run_goes_on_with_the_same_options_only(options, said):
    part = calibrate(stop=Stopping(2))
    with pytest.raises(CalibrationError, match=said):
        calibrate(**options, resume=part)


def test_unfinished_tables_are_handed_over(whole, monkeypatch):
    monkeypatch.setattr(calibrating, "CHECKPOINT_SECONDS", 0.0)
    seen = []
    calibrate(checkpoint=lambda table: seen.append((table.complete, table.to_bytes())))
    assert [complete for complete, _ in seen] == [False] * 24
    last = tuple(range(24))
    assert len({content for _, content in seen}) == len(last)


def test_a_damaged_sample_costs_nothing_that_was_seen_before():
    broken = [*SAMPLES[:9], {"image": np.zeros((1, 3, 2), np.float32)}, *SAMPLES[10:]]
    kept = []
    with pytest.raises(DataError):
        calibrate(broken, checkpoint=kept.append)
    assert [table.collection.samples for table in kept] == [9]
    assert calibrate(resume=kept[0]).complete


def test_a_source_of_unknown_length_is_read_to_its_end():
    table = calibrate(iter(SAMPLES))
    assert table.complete
    assert table.facts.draw.length is None
    part = calibrate(iter(SAMPLES), stop=Stopping(4))
    assert calibrate(iter(SAMPLES), resume=part).to_bytes() == table.to_bytes()
    shards = [calibrate(iter(SAMPLES), shard=(number, 3)) for number in range(3)]
    assert edgeq.merge_tables(*shards).to_bytes() == table.to_bytes()


def test_many_samples_keep_the_same_ones_in_shards():
    samples = models.rows(150)
    whole = calibrate(samples, models.mlp(), seed=3)
    assert len(whole.collection.kept) == 64
    shards = [calibrate(samples, models.mlp(), seed=3, shard=(n, 2)) for n in range(2)]
    assert edgeq.merge_tables(*shards).to_bytes() == whole.to_bytes()


def test_infinities_merge():
    text = """
    net (float[N, 3, 8, 8] image) => (float[N, 8, 8, 8] y) {{
        [log] l = Log (image)
        [first] a = Conv <pads = [1, 1, 1, 1]> (l, w0)
        [relu] r = Relu (image)
        [second] b = Conv <pads = [1, 1, 1, 1]> (r, w0)
        [sum] y = Add (a, b)
    }}"""
    model = models.build(text, w0=models.numbers(0, 8, 3, 3, 3))
    samples = [{"image": np.abs(each["image"]) + 0.1} for each in models.images(8)]
    samples[5]["image"][0, 0] = -1.0
    whole = calibrate(samples, model)
    assert "l" in whole.collection.infinite
    assert "r" in whole.collection.statistics
    shards = [calibrate(samples, model, shard=(number, 2)) for number in range(2)]
    assert edgeq.merge_tables(*shards).to_bytes() == whole.to_bytes()
    options = {"threads": 1, "validate": False}
    direct = edgeq.quantize(model, samples, **options)
    later = edgeq.quantize(model, calibration_table=whole, **options)
    assert saver.to_bytes(later.model) == saver.to_bytes(direct.model)


@pytest.mark.parametrize("calibrator", [None, "percentile:level=99.9", "minmax"])
def test_a_table_stands_for_the_data(whole, calibrator, tmp_path):
    whole.save(tmp_path / "t.calib")
    options = {"calibrator": calibrator, "threads": 1, "validate": False}
    direct = edgeq.quantize(models.conv_net(), SAMPLES, **options)
    later = edgeq.quantize(models.conv_net(), calibration_table=tmp_path / "t.calib", **options)
    assert saver.to_bytes(later.model) == saver.to_bytes(direct.model)
    assert later.report.samples == 24
    assert "by way of a calibration table" in later.report.notes[0]


def test_a_table_of_more_samples_than_are_kept_stands_for_them():
    samples = models.rows(100)
    table = calibrate(samples, models.mlp(), seed=2)
    options = {"threads": 1, "seed": 2, "validate": False}
    direct = edgeq.quantize(models.mlp(), samples, **options)
    later = edgeq.quantize(models.mlp(), calibration_table=table, **options)
    assert saver.to_bytes(later.model) == saver.to_bytes(direct.model)


def test_passes_that_failed_their_proof_are_left_out_again(whole, monkeypatch):
    from edgeq.passes import proof

    real, failed = proof.Reference.prove, []

    def prove(self, model, *rest):
        found = real(self, model, *rest)
        affected = all(node.op_type != "BatchNormalization" for node in model.graph)
        if affected and found.failure is None:
            failed.append(1)
            return type(found)(**{
                **{name: getattr(found, name) for name in found.__slots__}, "failure": "told so"
            })  # fmt: skip
        return found

    monkeypatch.setattr(proof.Reference, "prove", prove)
    table = calibrate()
    monkeypatch.undo()
    assert failed
    assert table.facts.origin.left_out
    assert table.facts.origin.preparation != whole.facts.origin.preparation
    edgeq.quantize(models.conv_net(), calibration_table=table, threads=1, validate=False)


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        (models.conv_net(opset=15), {}, "the hash of the model is"),
        (None, {"exclude": ["head"]}, "exclude is empty in the table and 'head' here"),
        (None, {"recipe": Recipe(include=("Conv",))}, "include is empty in the table"),
    ],
)
def test_a_table_of_something_else_is_refused(whole, model, options, said):
    with pytest.raises(CalibrationError, match=said) as caught:
        edgeq.quantize(model or models.conv_net(), calibration_table=whole, **options)
    assert caught.value.exit_code == 2


def test_a_table_of_another_preparation_is_refused(whole, monkeypatch):
    from edgeq.api import grounding

    monkeypatch.setattr(grounding, "_PREPARATION", 99)
    with pytest.raises(CalibrationError, match=r"preparation of the graph is 1:.* and 99:"):
        edgeq.quantize(models.conv_net(), calibration_table=whole)


def test_a_table_without_what_the_calibrator_reads_is_refused(monkeypatch):
    from edgeq.calibration import StatisticKind

    only = frozenset({StatisticKind.HISTOGRAM})
    monkeypatch.setattr(calibrating, "required_kinds", lambda _: only)
    table = calibrate()
    with pytest.raises(CalibrationError, match="the sample extrema of 'image' was not collected"):
        edgeq.quantize(models.conv_net(), calibration_table=table, calibrator="moving-average")


def test_an_unfinished_table_is_used_on_request_only():
    part = calibrate(stop=Stopping(8))
    with pytest.raises(CalibrationError, match="interrupted after 8 of 24 samples"):
        edgeq.quantize(models.conv_net(), calibration_table=part)
    made = edgeq.quantize(
        models.conv_net(), calibration_table=part, allow_partial=True, threads=1, validate=False
    )
    assert made.report.samples == 8
    assert "interrupted after 8" in made.report.notes[0]


def test_one_of_data_and_table_is_needed(whole):
    with pytest.raises(RecipeError, match="stand for each other"):
        edgeq.quantize(models.conv_net(), SAMPLES, calibration_table=whole)
    with pytest.raises(RecipeError, match="neither calibration data nor"):
        edgeq.quantize(models.conv_net())
    with pytest.raises(RecipeError, match="max_samples"):
        edgeq.quantize(models.conv_net(), calibration_table=whole, max_samples=3)


@pytest.mark.parametrize("shard", [(1, 1), (-1, 2), (0, 0)])
def test_shards_that_there_are_not_are_refused(shard):
    with pytest.raises(RecipeError, match="there is no shard"):
        calibrate(shard=shard)


def test_processes_find_what_one_run_finds(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(models.conv_net(), path)
    (tmp_path / "data").mkdir()
    for index, sample in enumerate(SAMPLES):
        np.savez(tmp_path / "data" / f"{index:02}.npz", **sample)
    whole = calibrate(tmp_path / "data", path)
    told = []

    class Progress:
        def stage(self, name):
            pass

        def samples(self, done, total):
            told.append((done, total))

    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn) as executor:
        made = calibrate(tmp_path / "data", path, executor=executor, progress=Progress())
    assert made.to_bytes() == whole.to_bytes()
    assert told[-1] == (24, 24)
    assert len(told) == 6


def test_parts_that_fail_are_tried_again(whole):
    executor = Here([OSError("connection lost"), None, OSError("again")])
    assert calibrate(executor=executor).to_bytes() == whole.to_bytes()
    assert executor.ran == 8


def test_parts_that_keep_failing_end_the_run():
    with pytest.raises(CalibrationError, match="failed 3 times, at last with OSError: gone"):
        calibrate(executor=Here([OSError("gone")] * 99))


def test_a_mistake_of_the_user_is_not_tried_again():
    executor = Here([DataError("no such file")])
    with pytest.raises(DataError, match="no such file"):
        calibrate(executor=executor)
    assert executor.ran <= 6


@pytest.mark.parametrize("when", [0, 3])
def test_what_a_broken_executor_leaves_is_done_here(whole, when):
    executor = Here([*[None] * when, *[BrokenExecutor("killed")] * 99])
    assert calibrate(executor=executor).to_bytes() == whole.to_bytes()


def _killed_once(task):
    """Kills the first process that does a task."""
    marker = os.environ["EDGEQ_TEST_MARKER"]
    if not os.path.exists(marker):  # noqa: PTH110
        open(marker, "w").close()  # noqa: PTH123
        os.kill(os.getpid(), signal.SIGKILL)
    return calibrating.run_task(task)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL on this system")
def test_a_killed_process_costs_its_part_only(whole, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEQ_TEST_MARKER", str(tmp_path / "marker"))
    real = distributing.run_tasks
    monkeypatch.setattr(
        calibrating, "run_tasks", lambda executor, _, *rest: real(executor, _killed_once, *rest)
    )
    fork = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fork) as executor:
        assert calibrate(executor=executor).to_bytes() == whole.to_bytes()


def test_an_interrupted_distributed_run_goes_on(whole):
    part = calibrate(executor=Slow(), stop=Stopping(1))
    assert not part.complete
    assert calibrate(executor=Here(), resume=part).to_bytes() == whole.to_bytes()
    assert calibrate(resume=part).to_bytes() == whole.to_bytes()
    nothing = calibrate(executor=Here(), stop=Stopping(0))
    assert nothing.collection.samples == 0


def test_a_shard_can_be_distributed_itself(whole):
    shards = [calibrate(shard=(number, 2), executor=Here()) for number in range(2)]
    assert edgeq.merge_tables(*shards).to_bytes() == whole.to_bytes()


def test_workers_that_prepare_something_else_are_refused(monkeypatch):
    real = calibrating.run_task

    def other(task):
        table = edgeq.calibrate(models.conv_net(opset=15), task.data, shard=task.shard)
        return table.to_bytes()

    assert real is not other
    monkeypatch.setattr(calibrating, "run_task", other)
    with pytest.raises(CalibrationError, match="a worker prepared something else: the hash of"):
        calibrate(executor=Here())


@pytest.mark.parametrize(
    ("model", "data", "said"),
    [
        (object(), SAMPLES, "a object cannot be sent"),
        (None, iter(SAMPLES), "cannot be split among workers"),
    ],
)
def test_what_cannot_travel_is_refused(model, data, said):
    with pytest.raises(UnsupportedError, match=said):
        calibrate(data, model, executor=Here())


def test_paths_and_references_travel_as_absolute_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "load.py").write_text("def samples(): pass")
    assert distributing.portable("net.onnx", ".")[0] == str(tmp_path / "net.onnx")
    assert distributing.portable("n", "load.py:samples")[1] == f"{tmp_path}/load.py:samples"
    assert distributing.portable("n", "package.module:samples")[1] == "package.module:samples"


@pytest.mark.parametrize("shard", [(0, 1), (2, 3)])
@pytest.mark.parametrize("length", [None, 1, 5, 100])
def test_parts_cover_a_shard_once(shard, length):
    number, count = shard
    wanted = [i for i in range(200) if i % count == number]
    parts = distributing.split(shard, Here(), length)
    covered = [i for part, of in parts for i in range(200) if i % of == part]
    assert sorted(covered) == wanted
    assert len(parts) <= 6


def test_errors_travel():
    import pickle

    error = DataError("what", where="here", remedy="do this")
    back = pickle.loads(pickle.dumps(error))
    assert (back.what, back.where, back.remedy, str(back)) == (
        "what",
        "here",
        "do this",
        str(error),
    )
    assert isinstance(back, EdgeqError)


def test_without_dask_the_way_to_it_is_told(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UnsupportedError, match=r"pip install edgeq\[dask\]"):
        calibrate(dask="tcp://127.0.0.1:1")
    with pytest.raises(RecipeError, match="an executor and a Dask cluster"):
        calibrate(dask="tcp://127.0.0.1:1", executor=Here())
    assert DeviceError.exit_code == 2
