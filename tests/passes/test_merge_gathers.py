import numpy as np
import pytest
from pass_graphs import apply, model, ops

from edgeq.passes.merge_gathers import merge_gathers


@pytest.mark.parametrize(("axis", "back"), [(0, 0), (1, 1), (-1, 2), (1, -2)])
def test_the_axis_is_kept(axis, back):
    text = f"""
g (float[a,4,5] x, int64 i, int64[1] at) => (float[?,?,?] y) {{
  p = Gather<axis={axis}>(x, i)
  y = Unsqueeze(p, at)
}}
"""
    found, outcome = apply(merge_gathers, model(text, i=np.array(-1), at=np.array([back])))
    assert ops(found) == ["Gather"]
    assert outcome.changes == 1


def test_old_opsets_and_other_axes():
    text = """
g (float[a,4,5] x, int64 i) => (float[?,?,?] y, float[?,?,?] z) {
  p = Gather<axis=1>(x, i)
  y = Unsqueeze<axes=[1]>(p)
  q = Gather<axis=1>(x, i)
  z = Unsqueeze<axes=[2]>(q)
}
"""
    found, _ = apply(merge_gathers, model(text, 11, i=np.array(2)))
    assert ops(found) == ["Gather", "Gather", "Unsqueeze"]


def test_what_others_read_stays():
    text = """
g (float[a,4,5] x, int64 i, int64[1] at, int64 j)
    => (float[?,?,?] y, float[?,?] p, float[?,?,?] z)
{
  p = Gather<axis=1>(x, i)
  y = Unsqueeze(p, at)
  q = Gather<axis=1>(x, j)
  z = Unsqueeze(q, at)
}
"""
    found, outcome = apply(merge_gathers, model(text, i=np.array(2), at=np.array([1])))
    assert outcome.changes == 0
    assert ops(found).count("Unsqueeze") == 2
