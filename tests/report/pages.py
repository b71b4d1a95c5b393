"""Reports for pages: of a good model, of everything that a report may hold, and out of hell."""

from edgeq.quantization.plan import NodeDecision, NodeForm
from edgeq.report.details import Bars, Details, ValueDetails

HOSTILE = (
    "</script><img src=x onerror=document.title='broken'>",
    "\"><svg onload=document.title='broken'>",
    "' onmouseover='document.title=1",
    "<!--<script>",
    "]]></style><b>",
    "&lt;i&gt;&amp;",
    "nul\x00bell\x07",
    "right\u202eto left",
    "\u05d0\u05d1\u05d2 \U0001f98a \u65e5\u672c",
    "half \udc80 of a pair",
    "{{7*7}}${7*7}",
    "long" * 1000,
)
"""Names that a model of a stranger may have."""

COMMAND = "edgeq quantize net.onnx --calib data/ --report r.html"


def document(**changed):
    """A report of a good model."""
    timing = {"median_ms": 10.0, "p25_ms": 9.8, "p75_ms": 10.4}
    fast = {"median_ms": 4.0, "p25_ms": 3.9, "p75_ms": 4.2}
    layers = [
        {"name": f"layer{i}", "op_type": "Conv", "sqnr_db": 40.0 - 2 * i, "before_db": 42.0 - 2 * i}
        for i in range(10)
    ]
    given = {
        "schema": 1,
        "verdict": "good",
        "failures": [],
        "model": {
            "path": "/data/net.onnx",
            "sha256": "ab" * 32,
            "opset": 17,
            "inputs": [{"name": "x", "dtype": "FLOAT", "shape": [1, 3, "height", None]}],
            "outputs": [{"name": "scores", "dtype": "FLOAT", "shape": None}],
        },
        "scheme": "int8",
        "target": "cpu",
        "calibrator": "auto",
        "samples": 128,
        "size": {"fp32_bytes": 4_000_000, "candidate_bytes": 1_000_000, "ratio": 0.25},
        "accuracy": {"outputs": {"scores": closeness(31.4, top1_agreement=0.985)}},
        "coverage": {
            "macs": {"int8": 900_000, "int16": 0, "nbits": 0, "fp16": 0, "float": 100_000},
            "total": 1_000_000,
            "ratio": 0.9,
            "float_nodes": [
                {"name": "head", "op_type": "Gemm", "macs": 100_000, "reason": "it was excluded"}
            ],
            "leftover_qdq": 2,
            "boundary_crossings": 4,
        },
        "latency": [{"threads": 1, "fp32": timing, "candidate": fast, "speedup": 2.5}],
        "timings": {"load": 0.1, "calibrate": 1.5},
        "stages": [
            {"name": "load", "seconds": 0.1, "running": 0.0, "parts": []},
            {
                "name": "calibrate",
                "seconds": 1.5,
                "running": 1.25,
                "parts": [{"name": "ranges", "seconds": 0.5, "running": 0.5, "parts": []}],
            },
        ],
        "peak_rss_mb": 123.4,
        "warnings": [],
        "notes": ["Calibrated on 128 pictures in calib/"],
        "layers": layers,
        "environment": {"onnxruntime": "1.31.1", "isa": "x86_64"},
    }
    return {**given, **changed}


def closeness(sqnr_db, **more):
    """One output."""
    return {"sqnr_db": sqnr_db, "cosine": 0.9994, "max_abs_error": 0.0123, **more}


def everything():
    """A report of a model that failed, with every key that there may be."""
    layers = [
        {**layer, "alone_db": layer["sqnr_db"] + 5, "cause": "outliers" if index == 3 else None}
        for index, layer in enumerate(document()["layers"])
    ]
    step = {"name": "bias correction", "kept": True, "before_db": 12.0, "after_db": 15.5}
    undone = {"name": "smoothing", "kept": False, "before_db": 15.5, "after_db": 14.0}
    trial = {"excluded": 3, "price": 0.125, "metric": 0.88, "sqnr_db": 16.0, "seconds": 2.5}
    return document(
        verdict="failed",
        failures=["output 'scores': SQNR 8.2 dB is below 10 dB"],
        warnings=["Only 3 calibration samples. Give at least 16"],
        accuracy={
            "outputs": {"scores": closeness(31.4), "boxes": closeness(8.2)},
            "metric": {"name": "top1", "fp32": 0.9731, "candidate": 0.9712},
        },
        layers=layers,
        values=[cost("value1", 12.5, cause="outliers reach 40"), cost("value0", 35.0)],
        parting={
            "name": "layer3",
            "op_type": "Conv",
            "before_db": 200.0,
            "sqnr_db": 14.0,
            "alone_db": 19.0,
            "cause": "a few numbers are 40 times larger than all others",
            "edges": [-2.0, -1.0, 0.0, 1.0, 2.0],
            "reference": [1, 10, 1000, 3],
            "candidate": [0, 12, 990, 9],
        },
        steps=[
            {**step, "seconds": 1.25, "note": "through 31 layers"},
            {**undone, "seconds": 0.5, "note": ""},
        ],
        budget={
            "metric": "top1",
            "fp32": 0.9731,
            "allowed": 0.005,
            "met": True,
            "reason": "5 layers were left float for it",
            "trials": [
                {**trial, "met": False, "kept": False},
                {**trial, "excluded": 5, "met": True, "kept": True},
            ],
        },
    )


def cost(name, readers_db, **more):
    """What rounding one value costs."""
    given = {"op_type": "Conv", "sqnr_db": 41.5, "reader": "layer2", "accumulated_db": 22.25}
    return {"name": name, "readers_db": readers_db, **given, **more}


def value(name, **changed):
    """A value of which one number in a hundred is cut off."""
    counts = (1,) + (0,) * 60 + tuple(range(1, 101))
    given = {
        "producer": "Conv",
        "consumers": ("Relu", "Add"),
        "calibrator": "mse",
        "low": -1.0,
        "high": 1.0,
        "expected_db": 38.5,
        "dtype": "uint8",
        "scale": 2 / 255,
        "zero_point": 128,
        "first": -1.0,
        "last": 1.0,
        "count": 5051,
        "minimum": -4.0,
        "maximum": 1.0,
        "zeros": 0.25,
        "outside": 0.01,
        "outlier_ratio": 4.0,
        "used": 120,
        "whole": Bars(-4.0, 1.0, counts),
        "close_up": Bars(-1.0, 1.0, tuple(range(161))),
    }
    return ValueDetails(name=name, **{**given, **changed})


def details(names=("value0", "value1", "value2"), layers=()):
    """What is known of values, the nodes that make them, and one value that stays float."""
    float_ = ValueDetails(name="kept float", producer=None, consumers=("Conv",))
    forms = (NodeForm.STATIC, NodeForm.FLOAT, NodeForm.DYNAMIC, NodeForm.ABSORBED)
    decisions = tuple(
        NodeDecision(name, "Conv", forms[index % 4], "why not" if index % 4 == 1 else "")
        for index, name in enumerate(layers or [f"layer{i}" for i in range(10)])
    )
    links = dict(zip([each.node for each in decisions], names, strict=False))
    return Details((*map(value, names), float_), decisions, links)


def _spent(name, parts):
    return {"name": name, "seconds": 1.0, "running": 0.5, "parts": parts}


def hostile():
    """A report in which everything that a stranger names is meant to break the page."""
    layers = [
        {"name": name, "op_type": name, "sqnr_db": 20.0, "before_db": 30.0, "cause": name}
        for name in HOSTILE
    ]
    nodes = [{"name": n, "op_type": n, "macs": 1, "reason": n} for n in HOSTILE]
    whole = everything()
    given = {
        **whole,
        "model": {
            **whole["model"],
            "path": f"/tmp/{HOSTILE[2]}",
            "inputs": [{"name": n, "dtype": "FLOAT", "shape": [n]} for n in HOSTILE],
        },
        "failures": list(HOSTILE),
        "warnings": list(HOSTILE),
        "notes": list(HOSTILE),
        "environment": dict.fromkeys(HOSTILE, HOSTILE[0]),
        "timings": dict.fromkeys(HOSTILE, 1.0),
        "stages": [_spent(n, [_spent(n, [])]) for n in HOSTILE],
        "layers": layers,
        "values": [cost(n, 20.0, op_type=n, reader=n, cause=n) for n in HOSTILE],
        "accuracy": {
            "outputs": {name: closeness(20.0) for name in HOSTILE},
            "metric": {"name": HOSTILE[0], "fp32": 1.0, "candidate": 0.5},
        },
        "coverage": {**whole["coverage"], "float_nodes": nodes},
        "parting": {**whole["parting"], "name": HOSTILE[0], "cause": HOSTILE[1]},
        "steps": [{**whole["steps"][0], "name": name, "note": name} for name in HOSTILE],
        "budget": {**whole["budget"], "metric": HOSTILE[0]},
    }
    return given, details(HOSTILE, HOSTILE)


def frontier(names=("fp32", "int8", "int8-float-3", "w8"), **changed):
    """A report of ``edgeq tune``: the last model is beaten, the second is picked."""
    made = [
        _tuned(name, "fp32" if place == 0 else "int8", score=0.9 - 0.01 * place, place=place)
        for place, name in enumerate(names)
    ]
    made[1]["chosen"] = True
    made[-1] |= {"frontier": False, "dominated_by": names[1], "failures": ["output 'z': far off"]}
    whole = document()
    given = {
        key: whole[key]
        for key in ("schema", "verdict", "model", "target", "calibrator", "samples", "timings",
                    "peak_rss_mb", "notes", "environment")
    }  # fmt: skip
    limit = {"kind": "max_drop", "amount": 0.05, "relative": True, "met": True}
    return {
        **given,
        "metric": {"name": "top1", "fp32": 0.9, "higher_is_better": True},
        "limit": {**limit, "reason": "int8 is the fastest of 3 that keep to the limit"},
        "chosen": names[1],
        "costs": None,
        "points": made,
        **changed,
    }


def _tuned(name, scheme, score, place):
    ratio = (1.0, 0.4, 0.6, 1.1)[place % 4]
    size = (1.0, 0.26, 0.3, 0.28)[place % 4]
    return {
        "name": name,
        "made": name,
        "scheme": scheme,
        "score": score,
        "drop": 0.9 - score,
        "sqnr_db": None if place == 0 else 25.0,
        "latency": {
            "threads": 1, "median_ms": 10 * ratio, "fp32_ms": 10.0, "ratio": ratio,
            "speedup": 1 / ratio, "predicted": False,
        },
        "size": {"bytes": int(1_000_000 * size), "ratio": size},
        "layers": {"float": 0, "float_for_speed": 0, "integer_for_speed": 0},
        "failures": [],
        "frontier": True,
        "dominated_by": None,
        "chosen": False,
    }  # fmt: skip
