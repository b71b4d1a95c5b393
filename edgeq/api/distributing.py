"""Calibration in parts: by the processes of an executor, or the machines of a Dask cluster."""

from __future__ import annotations

import io
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from edgeq.calibration.table import read_table
from edgeq.errors import CalibrationError, DeviceError, EdgeqError, UnsupportedError
from edgeq.references import is_reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Executor, Future

    from edgeq.calibration.table import CalibrationTable
    from edgeq.recipe import Recipe

_TASKS_A_WORKER = 3
"""So that a slow or lost worker costs a part of its share only; each part prepares the model."""

_SAMPLES_A_TASK = 4
_RETRIES = 2
_POLL_SECONDS = 0.2
_CONNECT_SECONDS = 10

_log = logging.getLogger("edgeq")


@dataclass(frozen=True, slots=True)
class Task:
    """A shard for a worker; travels by pickle.

    Attributes:
        model: A path or the bytes of a model.
        data: A path, a reference or a series of samples.
        target: Name of the target profile.
        recipe: The user's choices.
        max_samples: Samples to read at most, shards taken together.
        threads: Threads of onnxruntime.
        seed: Seed of the kept sample.
        shard: Its number, and how many shards there are.
        done: Indices of samples in it that were read before.
    """

    model: str | bytes
    data: object
    target: str
    recipe: Recipe
    max_samples: int | None
    threads: int
    seed: int
    shard: tuple[int, int]
    done: tuple[int, ...]


def portable(model: object, data: object) -> tuple[str | bytes, object]:
    """Model and data in a form that other processes can open.

    Raises:
        UnsupportedError: There is none.
    """
    return _portable_model(model), _portable_data(data)


def split(shard: tuple[int, int], executor: Executor, length: int | None) -> list[tuple[int, int]]:
    """The parts of a shard, a few for each worker.

    Args:
        shard: Number and count of what is to be split; (0, 1) is everything.
        executor: What will do the work.
        length: Samples of the data, where known.
    """
    number, count = shard
    parts = _TASKS_A_WORKER * _workers(executor)
    if length is not None:
        parts = min(parts, max(1, len(range(number, length, count)) // _SAMPLES_A_TASK))
    return [(number + count * part, count * parts) for part in range(parts)]


def run_tasks(
    executor: Executor,
    run: Callable[[Task], bytes],
    tasks: Iterable[Task],
    stop: Callable[[], bool],
) -> Iterator[CalibrationTable]:
    """Run tasks and yield their tables as they are finished.

    A task that fails for another reason than the user's mistake is tried twice more. Once the
    executor itself is broken, as by a process that was killed, what is left is done here.

    Args:
        executor: Does the work.
        run: Does a task.
        tasks: What there is to do.
        stop: Asked again and again; once it says yes, nothing more is started or yielded.

    Raises:
        EdgeqError: What a task raised.
        CalibrationError: A task keeps failing.
    """
    queue = _Queue(executor, run, tasks)
    try:
        while queue.busy and not stop():
            for content in queue.finished():
                yield read_table(io.BytesIO(content), "a worker's table")
    except BrokenExecutor as error:
        _log.warning("the workers are gone (%s): going on in this process", error)
        for task in queue.unfinished():
            if stop():
                return
            yield read_table(io.BytesIO(run(task)), "a part's table")
    finally:
        queue.cancel()


class _Queue:
    """Tasks that an executor is doing."""

    def __init__(
        self, executor: Executor, run: Callable[[Task], bytes], tasks: Iterable[Task]
    ) -> None:
        self._executor = executor
        self._run = run
        self._waiting = list(tasks)
        self._pending: dict[Future[bytes], Task] = {}
        self._failures: Counter[tuple[int, int]] = Counter()

    @property
    def busy(self) -> bool:
        """Whether there is anything left."""
        return bool(self._waiting or self._pending)

    def finished(self) -> Iterator[bytes]:
        """What was finished within a moment."""
        while self._waiting:
            future = self._executor.submit(self._run, self._waiting[-1])
            self._pending[future] = self._waiting.pop()
        ready, _ = wait(self._pending, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
        for future in ready:
            try:
                content = future.result()
            except (BrokenExecutor, EdgeqError):
                raise
            except (Exception, CancelledError) as error:
                self._again(self._pending.pop(future), error)
            else:
                del self._pending[future]
                yield content

    def unfinished(self) -> list[Task]:
        """What was not finished."""
        return [*self._waiting, *self._pending.values()]

    def cancel(self) -> None:
        """Begin nothing more."""
        for future in self._pending:
            future.cancel()

    def _again(self, task: Task, error: BaseException) -> None:
        self._failures[task.shard] += 1
        if self._failures[task.shard] > _RETRIES:
            number, count = task.shard
            raise CalibrationError(
                f"part {number} of {count} failed {_RETRIES + 1} times, at last with "
                f"{type(error).__name__}: {error}",
                remedy="See the log of the workers; they need the same edgeq as here",
            ) from error
        _log.warning("a part failed (%s) and is tried again", error)
        self._waiting.append(task)


@contextmanager
def cluster(address: str) -> Iterator[Executor]:
    """The workers of a Dask cluster as an executor.

    Args:
        address: Of the scheduler, such as ``tcp://10.0.0.5:8786``.

    Raises:
        UnsupportedError: Dask is not installed.
        DeviceError: There is no scheduler, or it has no workers.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise UnsupportedError(
            "Dask is not installed", where="--dask", remedy="pip install edgeq[dask]"
        ) from error
    try:
        client = Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise DeviceError(
            f"there is no Dask scheduler: {type(error).__name__}",
            where=address,
            remedy="Start one with dask scheduler, and give the address that it prints",
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
        except OSError as error:
            raise DeviceError(
                "the Dask scheduler has no workers",
                where=address,
                remedy=f"Start some with dask worker {address}",
            ) from error
        # Not pure: Dask would take a task that failed for its own earlier result.
        yield client.get_executor(pure=False)


def _workers(executor: Any) -> int:
    client = getattr(executor, "_client", None)
    if client is not None:
        return max(1, len(client.ncores()))
    return max(1, getattr(executor, "_max_workers", None) or os.cpu_count() or 1)


def _portable_model(model: object) -> str | bytes:
    if isinstance(model, str | os.PathLike):
        return str(Path(model).expanduser().absolute())
    if isinstance(model, bytes | bytearray | memoryview):
        return bytes(model)
    if isinstance(model, onnx.ModelProto):
        return bytes(model.SerializeToString(deterministic=True))
    raise UnsupportedError(
        f"a {type(model).__name__} cannot be sent to workers",
        where="the model",
        remedy="Save it, and give the path",
    )


def _portable_data(data: object) -> object:
    if isinstance(data, str | os.PathLike):
        return _absolute(str(data))
    if isinstance(data, Sequence) or callable(data):
        return data
    raise UnsupportedError(
        f"samples of a {type(data).__name__} cannot be split among workers",
        where="the calibration data",
        remedy="Give a path, FILE.py:callable or a list",
    )


def _absolute(text: str) -> str:
    """The path or reference as it is understood from any working directory."""
    if Path(text).exists():
        return str(Path(text).absolute())
    head, _, name = text.rpartition(":")
    if is_reference(text) and Path(head).is_file():
        return f"{Path(head).absolute()}:{name}"
    return text
