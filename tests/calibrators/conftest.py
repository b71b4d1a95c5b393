import numpy as np
import pytest

from edgeq.calibration import CalibrationContext, StatisticKind, Statistics
from edgeq.types import QuantSpec, QuantType


@pytest.fixture
def context():
    return CalibrationContext(value="value", producer="Conv", consumers=("Conv",))


@pytest.fixture
def int8():
    return QuantSpec(QuantType.INT8, symmetric=True)


@pytest.fixture
def uint8():
    return QuantSpec(QuantType.UINT8)


@pytest.fixture
def observe():
    def run(*samples):
        statistics = Statistics(frozenset(StatisticKind), limit=2**30)
        for index, sample in enumerate(samples):
            statistics.update(index, np.asarray(sample))
        return statistics

    return run
