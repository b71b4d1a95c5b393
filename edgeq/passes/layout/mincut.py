"""Minimum cuts of small directed graphs with integer capacities, by Dinic's algorithm."""

from __future__ import annotations

from collections import deque

INFINITE = 1 << 62
"""A capacity that no cut of finite cost contains."""


class Network:
    """A directed graph with a source and a sink.

    Attributes:
        SOURCE: The source's vertex.
        SINK: The sink's vertex.
    """

    SOURCE = 0
    SINK = 1

    def __init__(self) -> None:
        self._edges: list[list[int]] = [[], []]
        self._heads: list[int] = []
        self._left: list[int] = []

    def vertex(self) -> int:
        """A new vertex."""
        self._edges.append([])
        return len(self._edges) - 1

    def edge(self, tail: int, head: int, capacity: int, back: int = 0) -> None:
        """Let a cut with ``tail`` at the source and ``head`` at the sink cost ``capacity``.

        Args:
            tail: A vertex.
            head: Another.
            capacity: The cost.
            back: What the cut costs that has them the other way round.
        """
        if tail == head or not (capacity or back):
            return
        for start, end, size in ((tail, head, capacity), (head, tail, back)):
            self._edges[start].append(len(self._heads))
            self._heads.append(end)
            self._left.append(size)

    def cut(self) -> list[bool]:
        """Solve it once.

        Returns:
            For each vertex, whether a cheapest cut leaves it at the source; of several such cuts,
            the one with fewest vertices there.
        """
        while (level := self._levels())[self.SINK] >= 0:
            self._block(level)
        return [found >= 0 for found in level]

    def _levels(self) -> list[int]:
        """Distance of each vertex from the source over edges that have capacity left; or -1."""
        level = [-1] * len(self._edges)
        level[self.SOURCE] = 0
        queue = deque([self.SOURCE])
        while queue:
            vertex = queue.popleft()
            for edge in self._edges[vertex]:
                head = self._heads[edge]
                if self._left[edge] and level[head] < 0:
                    level[head] = level[vertex] + 1
                    queue.append(head)
        return level

    def _block(self, level: list[int]) -> None:
        """Push along shortest paths until none is left."""
        following = [0] * len(self._edges)
        path: list[int] = []
        vertex = self.SOURCE
        while True:
            if vertex == self.SINK:
                vertex = self._push(path)
                continue
            edge = self._step(vertex, level, following)
            if edge is not None:
                path.append(edge)
                vertex = self._heads[edge]
            elif path:
                level[vertex] = -1
                vertex = self._heads[path.pop() ^ 1]
            else:
                return

    def _step(self, vertex: int, level: list[int], following: list[int]) -> int | None:
        edges = self._edges[vertex]
        while following[vertex] < len(edges):
            edge = edges[following[vertex]]
            if self._left[edge] and level[self._heads[edge]] == level[vertex] + 1:
                return edge
            following[vertex] += 1
        return None

    def _push(self, path: list[int]) -> int:
        """Push what fits along a path, and shorten it to the tail of its first full edge."""
        amount = min(self._left[edge] for edge in path)
        for edge in path:
            self._left[edge] -= amount
            self._left[edge ^ 1] += amount
        full = next(i for i, edge in enumerate(path) if not self._left[edge])
        vertex = self._heads[path[full] ^ 1]
        del path[full:]
        return vertex
