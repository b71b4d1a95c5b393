"""Small decoders with a cache, as exporters write them."""

import graphs
import numpy as np

HEADS, SHARED, CHANNELS, WIDTH, WORDS = 4, 2, 8, 64, 40

_LAYER = """
    q{n} = MatMul(x{n}, wq{n})
    k{n} = MatMul(x{n}, wk{n})
    v{n} = MatMul(x{n}, wv{n})
    q4{n} = Reshape(q{n}, by_heads)
    q_plain{n} = Transpose<perm = [0, 2, 1, 3]>(q4{n})
    k4{n} = Reshape(k{n}, by_shared)
    k_plain{n} = Transpose<perm = [0, 2, 1, 3]>(k4{n})
    v4{n} = Reshape(v{n}, by_shared)
    vt{n} = Transpose<perm = [0, 2, 1, 3]>(v4{n})
    {placed}
    present_key_{n} = Concat<axis = 2>(past_key_{n}, kt{n})
    present_value_{n} = Concat<axis = 2>(past_value_{n}, vt{n})
    ku{n} = Unsqueeze(present_key_{n}, two)
    ke{n} = Expand(ku{n}, copies)
    kr{n} = Reshape(ke{n}, repeated)
    vu{n} = Unsqueeze(present_value_{n}, two)
    ve{n} = Expand(vu{n}, copies)
    vr{n} = Reshape(ve{n}, repeated)
    {weighed}
    mixed{n} = MatMul(weights{n}, vr{n})
    back{n} = Transpose<perm = [0, 2, 1, 3]>(mixed{n})
    flat{n} = Reshape(back{n}, whole)
    o{n} = MatMul(flat{n}, wo{n})
    x{next} = Add(x{n}, o{n})
"""

_WEIGHED = """
    turned{n} = Transpose<perm = [0, 1, 3, 2]>(kr{n})
    raw{n} = MatMul(qt{n}, turned{n})
    scaled{n} = Mul(raw{n}, scale)
    masked{n} = Add(scaled{n}, mask)
    weights{n} = Softmax<axis = -1>(masked{n})
"""

_WEIGHED_BY_TORCH = """
    sizes{n} = Shape(kr{n})
    length{n} = Slice(sizes{n}, two, three)
    lead{n} = Slice(sizes{n}, axis_0, two)
    merged_to{n} = Concat<axis = 0>(last, length{n}, channels)
    split_to{n} = Concat<axis = 0>(lead{n}, channels, length{n})
    merged{n} = Reshape(kr{n}, merged_to{n})
    merged_turned{n} = Transpose<perm = [0, 2, 1]>(merged{n})
    turned{n} = Reshape(merged_turned{n}, split_to{n})
    q_scaled{n} = Mul(qt{n}, root)
    k_scaled{n} = Mul(turned{n}, root)
    raw{n} = MatMul(q_scaled{n}, k_scaled{n})
    seen{n} = Slice(visible, axis_0, length{n}, three)
    bias{n} = Where(seen{n}, nothing, never)
    masked{n} = Add(raw{n}, bias{n})
    soft{n} = Softmax<axis = -1>(masked{n})
    bad{n} = IsNaN(soft{n})
    weights{n} = Where(bad{n}, nothing, soft{n})
"""

_PLACED = "{x}t{n} = Identity({x}_plain{n})"

_ROTATED = """
    {x}_low{n} = Slice({x}_plain{n}, axis_0, half, last)
    {x}_high{n} = Slice({x}_plain{n}, half, end, last)
    {x}_minus{n} = Neg({x}_high{n})
    {x}_swapped{n} = Concat<axis = -1>({x}_minus{n}, {x}_low{n})
    {x}_one{n} = Mul({x}_plain{n}, cosines)
    {x}_other{n} = Mul({x}_swapped{n}, sines)
    {x}t{n} = Add({x}_one{n}, {x}_other{n})
"""

ANGLES = """
    spots = Unsqueeze(behind, axis_0)
    cos_rows = Gather(cos, spots)
    cosines = Unsqueeze(cos_rows, axis_1)
    sin_rows = Gather(sin, spots)
    sines = Unsqueeze(sin_rows, axis_1)
"""

STRETCHED = ANGLES.replace(
    "cos_rows = Gather(cos, spots)",
    "cos_plain = Gather(cos, spots) cos_rows = Mul(cos_plain, scale)",
)
"""Angles whose cosines are multiplied by a number once they are looked up."""

_ANGLES_OF_TORCH = """
    where_to = Cast<to = 1>(position_ids)
    column = Unsqueeze(where_to, two)
    angles = Mul(column, rates)
    twice = Concat<axis = -1>(angles, angles)
    cos_rows = Cos(twice)
    cosines = Unsqueeze(cos_rows, axis_1)
    sin_rows = Sin(twice)
    sines = Unsqueeze(sin_rows, axis_1)
    told = Cast<to = 9>(attention_mask)
    padding = Unsqueeze(told, middle)
    earlier = Not(later)
    causal = Unsqueeze(earlier, front)
    visible = And(causal, padding)
"""

_MASK = """
    total = Shape<start = 1, end = 2>(attention_mask)
    new = Shape<start = 1, end = 2>(input_ids)
    old = Sub(total, new)
    total_0 = Squeeze(total)
    places = Range(zero, total_0, one)
    old_0 = Squeeze(old)
    behind = Range(old_0, total_0, one)
    rows = Unsqueeze(behind, axis_1)
    later = Greater(places, rows)
    penalty = Where(later, lowest, nothing)
    mask = Unsqueeze(penalty, front)
"""


def decoder(layers=2, *, rotated=False, angles=ANGLES, weighed=_WEIGHED, more="", places=64):
    """Tokens and a cache to logits and a longer cache; the cache stands in every layer.

    Queries and keys are rotated by their places, if told so.
    """
    shape = f"b, {SHARED}, past, {CHANNELS}"
    longer = f"b, {SHARED}, total_length, {CHANNELS}"
    kinds = [(kind, n) for n in range(layers) for kind in ("key", "value")]
    pasts = ", ".join(f"float[{shape}] past_{kind}_{n}" for kind, n in kinds)
    presents = ", ".join(f"float[{longer}] present_{kind}_{n}" for kind, n in kinds)
    body = angles if rotated else ""
    for n in range(layers):
        turn = _ROTATED if rotated else _PLACED
        placed = "".join(turn.format(x=x, n=n) for x in "qk")
        body += _LAYER.format(n=n, next=n + 1, placed=placed, weighed=weighed.format(n=n))
    mask = "int64[b, total_length] attention_mask"
    text = f"""decoder (int64[b, s] input_ids, {mask}{more}, {pasts})
      => (float[b, s, {WORDS}] logits, {presents}) {{
      x0 = Gather(table, input_ids) {_MASK} {body}
      logits = MatMul(x{layers}, head)
    }}"""
    return graphs.proto(text, **_constants(layers, places))


def by_torch(layers=2):
    """The same decoder, rotated, as PyTorch writes it.

    Sizes are sums of others, angles are computed, the mask is cut to the tokens of the cache and
    -inf, both factors of the scores are scaled, keys are transposed with batch and heads merged,
    and what is no number counts as zero.
    """
    model = decoder(
        layers, rotated=True, angles=_ANGLES_OF_TORCH, weighed=_WEIGHED_BY_TORCH,
        more=", int64[b, s] position_ids",
    )  # fmt: skip
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == "total_length":
                dim.dim_param = "past + s"
    return model


def _constants(layers, places):
    whole = np.int64
    found = {
        "table": graphs.numbers(1, WORDS, WIDTH),
        "head": graphs.numbers(2, WIDTH, WORDS, scale=0.3),
        "by_heads": np.array([0, 0, HEADS, CHANNELS], whole),
        "by_shared": np.array([0, 0, SHARED, CHANNELS], whole),
        "repeated": np.array([0, HEADS, -1, CHANNELS], whole),
        "copies": np.array([1, 1, HEADS // SHARED, 1, 1], whole),
        "whole": np.array([0, 0, HEADS * CHANNELS], whole),
        "scale": np.float32(CHANNELS**-0.5),
        "two": np.array([2], whole),
        "zero": np.int64(0),
        "one": np.int64(1),
        "axis_0": np.array([0], whole),
        "axis_1": np.array([1], whole),
        "front": np.array([0, 1], whole),
        "middle": np.array([1, 2], whole),
        "three": np.array([3], whole),
        "channels": np.array([CHANNELS], whole),
        "root": np.float32(CHANNELS**-0.25),
        "never": np.float32(-np.inf),
        "rates": (10.0 ** -np.arange(CHANNELS // 2)).astype(np.float32),
        "half": np.array([CHANNELS // 2], whole),
        "end": np.array([2**62], whole),
        "last": np.array([-1], whole),
        "cos": np.tile(np.cos(_angles(places)), (1, 2)),
        "sin": np.tile(np.sin(_angles(places)), (1, 2)),
        "lowest": np.float32(-1e9),
        "nothing": np.float32(0),
    }
    for n in range(layers):
        found[f"wq{n}"] = graphs.numbers(10 * n + 3, WIDTH, HEADS * CHANNELS, scale=0.14)
        found[f"wk{n}"] = graphs.numbers(10 * n + 4, WIDTH, SHARED * CHANNELS, scale=0.14)
        found[f"wv{n}"] = graphs.numbers(10 * n + 5, WIDTH, SHARED * CHANNELS, scale=0.14)
        found[f"wo{n}"] = graphs.numbers(10 * n + 6, HEADS * CHANNELS, WIDTH, scale=0.15)
    return found


def _angles(places):
    return np.outer(np.arange(places), 10.0 ** -np.arange(CHANNELS // 2)).astype(np.float32)


def fed(new, old=0, batch=1, layers=2, seed=0, hidden=0, *, positions=False):
    """A sample: so many new tokens behind so many in the cache.

    The first few tokens of the last row are masked, and positions are told, if asked for.
    """
    generator = np.random.default_rng(seed)
    sample = {
        "input_ids": generator.integers(0, WORDS, (batch, new)),
        "attention_mask": np.ones((batch, old + new), np.int64),
    }
    sample["attention_mask"][-1, :hidden] = 0
    if positions:
        sample["position_ids"] = np.tile(np.arange(old, old + new), (batch, 1))
    for n in range(layers):
        for kind in ("key", "value"):
            shape = (batch, SHARED, old, CHANNELS)
            sample[f"past_{kind}_{n}"] = generator.standard_normal(shape).astype(np.float32)
    return sample
