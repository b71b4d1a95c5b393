from edgeq_calibrators.minmax import MinMax

from edgeq.types import TensorRange


def test_covers_everything(observe, int8, context):
    statistics = observe([1.0, -2.0], [5.0, 3.0])
    assert MinMax().range(statistics, int8, context) == TensorRange(-2.0, 5.0)
