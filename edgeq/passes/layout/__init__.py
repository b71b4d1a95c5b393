"""In which order of axes each part of a graph works best, and how to change it.

``rules.py`` knows, operator by operator, what another order of axes means. ``regions.py`` finds
the parts of a graph that Transposes of one kind surround, ``problem.py`` asks for the cheapest
places of those Transposes as a minimum cut, ``mincut.py`` solves it, and ``turning.py`` rewrites
the graph.
"""
