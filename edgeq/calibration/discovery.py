"""Finds calibrators in installed distributions and makes them from ``NAME[:key=value,...]``.

A distribution announces a calibrator under the entry-point group ``edgeq.calibrators``; the
built-in ones do it the same way. Nothing is imported before it is described or created.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, NamedTuple

from edgeq.calibration.contract import CONTRACT, ENTRY_POINT_GROUP, Calibrator, StatisticKind
from edgeq.errors import EdgeqError, PluginError, RecipeError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

AUTO = "auto"
"""Reserved: the policy that compares calibrators, not a calibrator."""


class Parameter(NamedTuple):
    """One keyword parameter of a calibrator.

    Attributes:
        name: Keyword.
        default: Value when it is not given.
        type: ``int``, ``float``, ``bool`` or ``str``.
    """

    name: str
    default: int | float | bool | str
    type: str


@dataclass(frozen=True, slots=True)
class CalibratorInfo:
    """What can be said of a calibrator without making one.

    Attributes:
        name: Entry-point name.
        parameters: Its keyword parameters, in the order of the constructor.
        summary: First line of the class docstring.
        source: Paper, specification or file that the method comes from.
        distribution: Name of the distribution that announces it.
    """

    name: str
    parameters: tuple[Parameter, ...]
    summary: str
    source: str
    distribution: str


def discover() -> dict[str, EntryPoint]:
    """Entry points of all installed calibrators by name, sorted; nothing is imported.

    Raises:
        PluginError: Two distributions announce the same name, or one announces ``auto``.
    """
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        here = distribution_of(point)
        if point.name == AUTO:
            raise PluginError(
                f"the calibrator name {AUTO!r} is reserved",
                where=here,
                remedy=f"Uninstall {here}, or ask its authors for another name",
            )
        first = found.setdefault(point.name, point)
        if (first.value, distribution_of(first)) != (point.value, here):
            raise PluginError(
                f"{distribution_of(first)} and {here} both bring a calibrator called "
                f"{point.name!r}",
                remedy="Uninstall one of them",
            )
    return dict(sorted(found.items()))


def describe(name: str) -> CalibratorInfo:
    """Import a calibrator's class and describe it.

    Raises:
        RecipeError: No calibrator has this name.
        PluginError: It cannot be imported or breaks the contract.
    """
    point = _find(name)
    cls = load(point)
    return CalibratorInfo(
        name=name,
        parameters=parameters_of(cls, where=_where(point)),
        summary=(inspect.getdoc(cls) or "").partition("\n")[0],
        source=cls.source,
        distribution=distribution_of(point),
    )


def create(text: str) -> Calibrator:
    """Make a calibrator from ``NAME`` or ``NAME:key=value,key=value``.

    Args:
        text: As on the command line, for example ``percentile:level=99.9``. Values are converted
            to the types that the constructor is annotated with.

    Raises:
        RecipeError: No such calibrator or parameter, or a value that it does not take.
        PluginError: The calibrator cannot be imported or breaks the contract.
    """
    name, _, rest = text.partition(":")
    point = _find(name.strip())
    cls = load(point)
    known = {each.name: each for each in parameters_of(cls, where=_where(point))}
    given = _parse(text, rest, known)
    try:
        return cls(**given)
    except EdgeqError:
        raise
    except (ValueError, TypeError) as error:
        raise RecipeError(str(error), where=f"calibrator {text!r}") from error
    except Exception as error:
        raise _broken(point, f"its constructor fails ({error!r})") from error


def load(point: EntryPoint) -> type[Calibrator]:
    """Import the class behind an entry point and check what can be checked without data.

    Raises:
        PluginError: The import fails, or the class breaks the contract.
    """
    try:
        cls = point.load()
    except Exception as error:  # whatever a stranger's module raises while it is imported
        raise _broken(point, f"cannot be imported ({type(error).__name__}: {error})") from error
    return check_class(cls, where=_where(point), remedy=_remedy(point))


def check_class(cls: Any, *, where: str, remedy: str) -> type[Calibrator]:
    """The class itself where it fulfils the static half of the contract.

    Args:
        cls: Whatever the entry point refers to.
        where: Names the plug-in in messages.
        remedy: What the user can do about a fault.

    Raises:
        PluginError: The first fault found.
    """
    fault = _fault(cls)
    if fault:
        raise PluginError(fault, where=where, remedy=remedy)
    parameters_of(cls, where=where)
    checked: type[Calibrator] = cls
    return checked


def parameters_of(cls: type[Calibrator], *, where: str) -> tuple[Parameter, ...]:
    """The keyword parameters of a calibrator's constructor.

    Raises:
        PluginError: A parameter is positional, lacks a default, or is not annotated with int,
            float, bool or str.
    """
    signature = inspect.signature(cls)
    return tuple(_parameter(each, where) for each in signature.parameters.values())


def distribution_of(point: EntryPoint) -> str:
    """Name of the distribution that announces an entry point."""
    return point.dist.name if point.dist else "an unknown distribution"


def _fault(cls: Any) -> str | None:
    if not inspect.isclass(cls):
        return f"refers to {cls!r}, which is not a class"
    contract = getattr(cls, "contract", None)
    if contract != CONTRACT:
        return f"was written for calibrator contract {contract!r}, this edgeq has {CONTRACT}"
    requires = getattr(cls, "requires", None)
    kinds = isinstance(requires, frozenset) and all(isinstance(k, StatisticKind) for k in requires)
    if not kinds:
        return f"'requires' must be a frozenset of StatisticKind, not {requires!r}"
    source = getattr(cls, "source", None)
    if not isinstance(source, str) or not source.strip():
        return "'source' must name the paper, specification or file of the method"
    if not callable(getattr(cls, "range", None)):
        return "has no method 'range'"
    return None


_TYPES = {kind.__name__: kind for kind in (int, float, bool, str)}


def _parameter(parameter: inspect.Parameter, where: str) -> Parameter:
    kind = parameter.annotation
    # Read as text under `from __future__ import annotations`, as a type otherwise.
    kind = kind if isinstance(kind, str) else getattr(kind, "__name__", repr(kind))
    fault = None
    if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
        fault = "must be keyword-only"
    elif parameter.default is inspect.Parameter.empty:
        fault = "needs a default"
    elif kind not in _TYPES:
        fault = "must be annotated with int, float, bool or str"
    if fault:
        raise PluginError(f"constructor parameter {parameter.name!r} {fault}", where=where)
    return Parameter(parameter.name, parameter.default, kind)


def _parse(text: str, rest: str, known: Mapping[str, Parameter]) -> dict[str, Any]:
    where = f"calibrator {text!r}"
    given: dict[str, Any] = {}
    for item in filter(None, (part.strip() for part in rest.split(","))):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals:
            raise RecipeError(f"{item!r} is not of the form key=value", where=where)
        if key not in known:
            remedy = nearest(key, known) if known else "It takes no parameters"
            raise RecipeError(f"no parameter {key!r}", where=where, remedy=remedy)
        if key in given:
            raise RecipeError(f"parameter {key!r} is given twice", where=where)
        given[key] = _convert(known[key], value, where)
    return given


def _convert(parameter: Parameter, value: str, where: str) -> Any:
    convert: Callable[[str], Any] = _TYPES[parameter.type]
    if parameter.type == "bool":
        convert = _boolean
    try:
        return convert(value)
    except ValueError as error:
        raise RecipeError(
            f"{parameter.name} takes {parameter.type}, not {value!r}",
            where=where,
            remedy=f"Its default is {parameter.default}",
        ) from error


def _boolean(value: str) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if value.lower() not in words:
        raise ValueError(value)
    return words[value.lower()]


def _find(name: str) -> EntryPoint:
    known = discover()
    if name in known:
        return known[name]
    if name == AUTO:
        raise RecipeError(
            f"{AUTO!r} is a policy that compares calibrators, not a calibrator",
            remedy=f"Known: {', '.join(known)}",
        )
    remedy = nearest(name, known) if known else "None is installed: reinstall edgeq"
    raise RecipeError(f"no calibrator called {name!r}", remedy=remedy)


def _where(point: EntryPoint) -> str:
    return f"calibrator {point.name!r} of {distribution_of(point)}"


def _remedy(point: EntryPoint) -> str:
    name = distribution_of(point)
    return f"Update {name} (pip install --upgrade {name}), or uninstall it"


def _broken(point: EntryPoint, what: str) -> PluginError:
    return PluginError(what, where=_where(point), remedy=_remedy(point))
