"""Float-to-float graph passes.

A pass is a plain function ``(ir.Model) -> Outcome`` in a file of its name. It changes the model in
place (the caller clones), bodies of control flow included, and is idempotent: a second run changes
nothing. It never changes the model's interface: names, order, types and shapes of its inputs and
outputs. It decides place by place, and each place answers True (changed), False (nothing to do) or
a sentence (why it declined); :meth:`~edgeq.passes.outcome.Outcome.of` sums that up.

``pipelines.py`` lists the order that passes run in; a new pass is a file and a line there.
``prepare.py`` runs a pipeline on a copy, and ``proof.py`` compares the copy with the original.
"""
