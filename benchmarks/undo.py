"""Spells out what clean-ups had folded: wild variants of clean models, each proven equal.

    python benchmarks/undo.py SET -o OUT [--models A,B] [--variants batch-norm,nhwc]

Each model of the set is cleaned first (edgeq optimize); a variant then undoes what exporters,
converters and people do to models: layers without their normalization, channels last, weights in
half precision, sizes computed in every run. Written are OUT/NAME.VARIANT/model.onnx, the clean
model that it equals (clean.onnx), and links to the data of the set. A variant that does nothing
to a model is not written. Whether they are equal is tried with onnxruntime, its own rewriting off.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import Entry, operators, parser, read_set, table
from undoing.activations import activations
from undoing.batch_norm import batch_norm
from undoing.blocks import blocks
from undoing.clutter import clutter
from undoing.half import half, rounded
from undoing.nhwc import nhwc
from undoing.pen import Pen
from undoing.static_shapes import static_shapes

import edgeq
from edgeq.graph import saver, walk
from edgeq.passes.proof import prove

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx_ir as ir

    from edgeq.types import Sample

TOLERANCE = 1e-3
"""Largest difference between a variant and its twin, relative to the output's range."""


@dataclass(frozen=True)
class Variant:
    """A way to spell a model.

    Attributes:
        steps: What is done to the model, one after the other.
        twin: What is done first, and is part of the clean model that the variant equals.
    """

    steps: tuple[Callable[[Pen], int], ...]
    twin: Callable[[Pen], int] | None = None


VARIANTS = {
    "batch-norm": Variant((batch_norm,)),
    "half": Variant((half,), twin=rounded),
    "nhwc": Variant((nhwc,)),
    "functions": Variant((blocks,)),
    "shapes": Variant((static_shapes,)),
    "activations": Variant((activations,)),
    "clutter": Variant((clutter,)),
    "all": Variant((activations, batch_norm, static_shapes, nhwc, clutter, blocks)),
}


@dataclass(frozen=True)
class Undone:
    """A variant of a model.

    Attributes:
        clean: The model that it equals.
        model: The variant.
        places: At how many places it differs.
        failure: What speaks against its being equal; None when nothing does.
    """

    clean: ir.Model
    model: ir.Model
    places: int
    failure: str | None


def undo(clean: ir.Model, variant: Variant, samples: Sequence[Sample]) -> Undone:
    """Make a variant of a clean model, and try whether it is equal.

    Args:
        clean: Left as it is.
        variant: What to do to it.
        samples: What to run both on.
    """
    twin = clean.clone()
    if variant.twin is not None:
        variant.twin(Pen(twin))
    model = twin.clone()
    places = 0
    for seed, step in enumerate(variant.steps):
        places += step(Pen(model, seed))
        forget_shapes(model)
    proof = prove(twin, model, samples, TOLERANCE)
    failure = proof.failure if proof.samples else "neither runs on the samples"
    return Undone(twin, model, places, failure)


def forget_shapes(model: ir.Model) -> None:
    """Forget the shapes of what nodes compute, as few files tell them; the interface stays."""
    for node in walk.nodes(model):
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = None


def cleaned(path: Path, samples: Sequence[Sample]) -> ir.Model:
    """A model as edgeq's passes leave it."""
    return edgeq.optimize(path, samples, validate=False).model


def chosen(names: str | None) -> dict[str, Variant]:
    """The variants wanted, separated by commas; all when None."""
    wanted = list(VARIANTS) if names is None else names.split(",")
    unknown = [name for name in wanted if name not in VARIANTS]
    if unknown:
        raise SystemExit(f"no variant {', '.join(unknown)}; there are {', '.join(VARIANTS)}")
    return {name: VARIANTS[name] for name in wanted}


def main() -> None:
    """Write the variants and print what was done."""
    line = parser(__doc__)
    line.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder")
    line.add_argument("--variants", metavar="A,B", help=f"of {', '.join(VARIANTS)}; default: all")
    given = line.parse_args()
    rows: list[list[Any]] = []
    for entry in read_set(given.set, given.models):
        samples = entry.samples(4)
        clean = cleaned(entry.model, samples)
        for name, variant in chosen(given.variants).items():
            print(f"{entry.name}.{name} ...", file=sys.stderr, flush=True)
            done = undo(clean, variant, samples)
            if done.places:
                _write(entry, done, given.output / f"{entry.name}.{name}")
            rows.append([entry.name, name, done.places, *_sizes(done), done.failure or "equal"])
    print(table(("model", "variant", "places", "nodes, clean", "nodes", "verdict"), rows))
    if any(row[-1] != "equal" for row in rows):
        raise SystemExit(1)


def _sizes(done: Undone) -> list[int]:
    return [operators(saver.to_proto(model)).total() for model in (done.clean, done.model)]


def _write(entry: Entry, done: Undone, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    saver.save(done.model, folder / "model.onnx")
    saver.save(done.clean, folder / "clean.onnx")
    for source in entry.folder.iterdir():
        link = folder / source.name
        if not source.name.startswith("model.onnx") and not link.exists():
            link.symlink_to(source.resolve())


if __name__ == "__main__":
    main()
