"""Costs in a file: what each node takes on some machine, for placement that is decided elsewhere.

Two kinds of document are read: the one written here, and the profile of ``edgeq run --profile``.
Both come from outside: every number is checked before it counts.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeq.errors import RecipeError
from edgeq.runtime.kernels import original_name
from edgeq.runtime.profile import NodeTime
from edgeq.tuning.costs import Costs, Rate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COSTS_SCHEMA = 1
KIND = "edgeq costs"
_LARGEST = 64_000_000
"""Bytes of a file; a model of a hundred thousand nodes takes a tenth of it."""

_INTEGERS = ("QLinear", "QGemm", "QAttention", "DynamicQuantize", "MatMulInteger", "ConvInteger")
"""Beginnings of the names of onnxruntime's integer operators."""


@dataclass(frozen=True, slots=True)
class CostsFile:
    """Costs of one model on one machine.

    Attributes:
        path: The file.
        sha256: Of the float model, its external data included.
        measured_on: Device, runtime and the like, in words.
        floating: Microseconds by node, in float.
        integer: The same in integers.
        quantize: Of a QuantizeLinear.
        dequantize: Of a DequantizeLinear.
    """

    path: Path
    sha256: str
    measured_on: str
    floating: Mapping[str, float]
    integer: Mapping[str, float]
    quantize: Rate
    dequantize: Rate


@dataclass(frozen=True, slots=True)
class DeviceProfile:
    """A profile of ``edgeq run``, of the float model or of an int8 model made of it.

    Attributes:
        path: The file.
        sha256: Of the model that ran; None where the file does not tell.
        measured_on: Device and runtime, in words.
        times: Of the nodes, under their original names.
    """

    path: Path
    sha256: str | None
    measured_on: str
    times: tuple[NodeTime, ...]

    @property
    def has_integers(self) -> bool:
        """Whether it is the profile of a quantized model."""
        return any(is_integer_kernel(time.op_type) for time in self.times)


def is_integer_kernel(op_type: str) -> bool:
    """Whether an operator of a profile computes in integers."""
    return op_type.startswith(_INTEGERS)


def costs_text(costs: Costs, sha256: str, measured_on: Mapping[str, Any]) -> str:
    """The document of a costs file.

    Args:
        costs: What was measured.
        sha256: Of the float model.
        measured_on: Texts and numbers that tell the machine.
    """
    document = {
        "schema": COSTS_SCHEMA,
        "kind": KIND,
        "model": {"sha256": sha256},
        "measured_on": dict(measured_on),
        "floating_us": {name: round(us, 3) for name, us in sorted(costs.floating.items())},
        "integer_us": {name: round(us, 3) for name, us in sorted(costs.integer.items())},
        "quantize": _rate_row(costs.quantize),
        "dequantize": _rate_row(costs.dequantize),
    }
    return json.dumps(document, indent=1) + "\n"


def _rate_row(rate: Rate) -> dict[str, float]:
    return {"once_us": rate.once_us, "element_us": rate.element_us}


def read_costs(path: str | Path) -> CostsFile | DeviceProfile:
    """Read a costs file or a device's profile.

    Raises:
        RecipeError: It cannot be read, or is neither.
    """
    file = Path(path)
    try:
        if file.stat().st_size > _LARGEST:
            raise _refused(file, f"it is larger than {_LARGEST // 10**6} MB")
        document = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(
            f"cannot read the costs: {error.strerror or error}", where=str(file),
            remedy="Check the path",
        ) from error  # fmt: skip
    except (ValueError, RecursionError) as error:
        raise _refused(file, "it is no JSON") from error
    try:
        if isinstance(document, dict) and document.get("kind") == KIND:
            return _costs(file, document)
        if isinstance(document, dict) and "nodes" in document and "runtime" in document:
            return _profile(file, document)
    except (KeyError, TypeError, ValueError) as error:
        what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise _refused(file, what) from error
    raise _refused(file, "it is neither a costs file nor a profile")


def _refused(file: Path, what: str) -> RecipeError:
    return RecipeError(
        f"not usable as costs: {what}",
        where=str(file),
        remedy="Give what edgeq tune --save-costs or edgeq run --profile wrote",
    )


def _costs(file: Path, document: Mapping[str, Any]) -> CostsFile:
    _require_schema(document)
    return CostsFile(
        file,
        _text(document["model"]["sha256"]),
        _told(_table(document["measured_on"])),
        _times(document["floating_us"]),
        _times(document["integer_us"]),
        _rate(document["quantize"]),
        _rate(document["dequantize"]),
    )


def _profile(file: Path, document: Mapping[str, Any]) -> DeviceProfile:
    _require_schema(document)
    model = document.get("model")
    rows = document["nodes"]
    if not isinstance(rows, list):
        raise TypeError("its nodes are no list")
    spent: dict[tuple[str, str], float] = {}
    for row in rows:
        key = (original_name(_text(row["name"])), _text(row["op_type"]))
        spent[key] = spent.get(key, 0.0) + _number(row["microseconds"])
    total = sum(spent.values()) or 1.0
    runtime = _table(document["runtime"])
    named = " ".join(str(runtime.get(key, "")) for key in ("name", "version")).strip()
    return DeviceProfile(
        file,
        None if model is None else _text(model["sha256"]),
        f"{_text(document['device'])}, {named}",
        tuple(NodeTime(*key, us / total, us) for key, us in spent.items()),
    )


def _require_schema(document: Mapping[str, Any]) -> None:
    if document["schema"] != COSTS_SCHEMA:
        raise ValueError(f"its schema is {document['schema']!r}, not {COSTS_SCHEMA}")


def _told(table: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in table.items())


def _table(given: object) -> Mapping[str, Any]:
    if not isinstance(given, dict):
        raise TypeError(f"{given!r:.60} is no table")
    return given


def _text(given: object) -> str:
    if not isinstance(given, str):
        raise TypeError(f"{given!r:.60} is no text")
    return given


def _number(given: object) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise TypeError(f"{given!r:.60} is no number")
    if not (math.isfinite(given) and given >= 0.0):
        raise ValueError(f"{given!r:.60} is no time")
    return float(given)


def _times(given: object) -> dict[str, float]:
    return {_text(name): _number(us) for name, us in _table(given).items()}


def _rate(given: object) -> Rate:
    table = _table(given)
    return Rate(_number(table["once_us"]), _number(table["element_us"]))


def require_same_model(
    files: Sequence[CostsFile | DeviceProfile], sha256: str, *, where: str = "--costs"
) -> None:
    """Refuse costs of another model, and costs that are not enough to decide by.

    A profile of an int8 model has a hash of its own; that it fits is known by its nodes, later.

    Raises:
        RecipeError: They are of another model, or of one side only.
    """
    for each in files:
        foreign = each.sha256 is not None and each.sha256 != sha256
        if foreign and not (isinstance(each, DeviceProfile) and each.has_integers):
            raise RecipeError(
                f"{each.path} is of the model with sha256 {(each.sha256 or '')[:16]}, this one has "
                f"{sha256[:16]}",
                where=where,
                remedy="Measure this very file, or quantize the one that was measured",
            )
    profiles = [each for each in files if isinstance(each, DeviceProfile)]
    sides = {each.has_integers for each in profiles}
    if profiles and len(profiles) == len(files) and sides != {False, True}:
        lacking = "in float" if sides == {True} else "in integers"
        raise RecipeError(
            f"no file tells what nodes take {lacking}",
            where=where,
            remedy="Give two profiles: of the float model, and of the int8 model made of it with "
            "--no-latency-tuning",
        )
