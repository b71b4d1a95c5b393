"""Calibration on a Dask cluster: the same table, also when a worker is killed."""

import os
import signal
import threading
import time

import models
import pytest

import edgeq
from edgeq.errors import DeviceError

distributed = pytest.importorskip(
    "distributed", reason="Dask is not installed: pip install edgeq[dask]"
)
pytestmark = pytest.mark.filterwarnings("ignore")  # Dask warns of ports and of killed workers

BUSY = """
import time
from pathlib import Path
import numpy as np

FOLDER = Path({folder!r})

def samples():
    rng = np.random.default_rng(0)
    for index in range(48):
        (FOLDER / "busy").touch()
        if not (FOLDER / "fast").exists():
            time.sleep(0.02)
        yield {{"image": rng.standard_normal((1, 3, 8, 8)).astype(np.float32)}}
"""


@pytest.fixture
def cluster():
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as made:
        yield made


def test_a_killed_worker_changes_nothing(cluster, tmp_path):
    (tmp_path / "load.py").write_text(BUSY.format(folder=str(tmp_path)))
    data = f"{tmp_path / 'load.py'}:samples"
    (tmp_path / "fast").touch()
    whole = edgeq.calibrate(models.conv_net(), data, threads=1).to_bytes()
    for name in ("fast", "busy"):
        (tmp_path / name).unlink()
    killed = []

    class Progress:
        """Kills a worker as soon as the workers are at work."""

        def stage(self, name):
            if name == "calibrate":
                (tmp_path / "busy").unlink()
                threading.Thread(target=self.kill).start()

        def samples(self, done, total):
            pass

        def kill(self):
            until = time.monotonic() + 60
            while not (tmp_path / "busy").exists() and time.monotonic() < until:
                time.sleep(0.01)
            victim = next(iter(cluster.workers.values())).pid
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)
            time.sleep(0.5)
            (tmp_path / "fast").touch()

    made = edgeq.calibrate(
        models.conv_net(), data, threads=1, dask=cluster.scheduler_address, progress=Progress()
    )
    assert killed
    assert made.to_bytes() == whole


def test_a_scheduler_without_workers_is_told(monkeypatch):
    from edgeq.api import distributing

    monkeypatch.setattr(distributing, "_CONNECT_SECONDS", 1)
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=None) as cluster,
        pytest.raises(DeviceError, match="has no workers"),
    ):
        edgeq.calibrate(models.conv_net(), models.images(4), dask=cluster.scheduler_address)


def test_an_address_without_scheduler_is_told(monkeypatch):
    from edgeq.api import distributing

    monkeypatch.setattr(distributing, "_CONNECT_SECONDS", 1)
    with pytest.raises(DeviceError, match="there is no Dask scheduler"):
        edgeq.calibrate(models.conv_net(), models.images(4), dask="tcp://127.0.0.1:1")
