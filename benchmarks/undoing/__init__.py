"""Ways to spell out what clean-ups had folded; each turns a clean model into a wild one.

A spelling is a function ``(Pen) -> int``: it writes into the model of the pen, in place, and
returns at how many places it did. ``undo.py`` lists them, and proves each result by running it.
"""
