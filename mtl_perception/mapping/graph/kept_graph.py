# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A scene graph that is kept and changed, and that tells its followers what has changed."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from typing import Protocol

from mtl_perception.mapping.graph.scene_graph import (
    LAYER_IDS,
    SceneEdge,
    SceneGraphChanges,
    SceneGraphView,
    SceneLayer,
    SceneNode,
    are_same,
    symbol_of,
)

Ends = tuple[int, int]


class Lender(Protocol):
    """Somebody who keeps a layer's nodes, and all edges to them, in a way of its own, and makes them when asked.

    Attributes:
        layer: the layer's name; it has no other nodes.
        symbol: the id of its node number 0.
        count: of its nodes.
    """

    layer: str
    symbol: int

    @property
    def count(self) -> int: ...

    def nodes(self, ids: Sequence[int] | None = None) -> list[SceneNode]:
        """Return the nodes with these ids, rising; None: all."""

    def edges(self, ends: Sequence[Ends] | None = None) -> list[SceneEdge]:
        """Return the edges with these ends, rising; None: all."""


class KeptGraph:
    """Nodes by their ids and edges by their ends.

    Edges belong to a node, that names all of its edges whenever one is another. A node takes about 700 bytes, an edge
    300, those of a lender nothing.

    Attributes:
        sequence: how often something has changed.
    """

    def __init__(self) -> None:
        """Make an empty graph."""
        self.sequence = 0
        self._nodes: dict[int, SceneNode] = {}
        self._edges: dict[Ends, SceneEdge] = {}
        self._owned: dict[int, tuple[Ends, ...]] = {}  # per owner
        self._lender: Lender | None = None
        self._counts = dict.fromkeys(LAYER_IDS, 0)  # of the nodes of each layer
        self._news = _News()
        self._followers: weakref.WeakSet[SceneGraphFollower] = weakref.WeakSet()

    def __contains__(self, node: int) -> bool:
        """Return whether there is a node."""
        return node in self._nodes

    def put(self, nodes: Iterable[SceneNode]) -> None:
        """Add nodes, or change those that there are."""
        for node in nodes:
            before = self._nodes.get(node.id)
            if before is None or not are_same(before, node):
                self._counts[node.layer] += before is None
                self._nodes[node.id] = node
                self._news.put_node(node.id)

    def drop(self, ids: Iterable[int]) -> None:
        """Remove nodes, those that there are, with the edges that they own; others' edges to them must be removed."""
        for number in ids:
            node = self._nodes.pop(number, None)
            if node is not None:
                self._counts[node.layer] -= 1
                self._news.drop_node(number)
                self.link(number, ())

    def link(self, owner: int, edges: Iterable[SceneEdge]) -> None:
        """Let a node have these edges, and no others."""
        new = {edge.ends: edge for edge in edges}
        for ends in self._owned.get(owner, ()):
            if ends not in new:
                del self._edges[ends]
                self._news.drop_edge(ends)
        for ends, edge in new.items():
            before = self._edges.get(ends)
            if before is None or before.weight != edge.weight:
                self._edges[ends] = edge
                self._news.put_edge(ends)
        if new:
            self._owned[owner] = tuple(new)
        else:
            self._owned.pop(owner, None)

    def note(
        self, nodes: Iterable[int], gone_nodes: Iterable[int], edges: Iterable[Ends], gone_edges: Iterable[Ends]
    ) -> None:
        """Learn which of the lender's nodes and edges are new or others than before, and which are gone."""
        self._news.add(_News(nodes, gone_nodes, edges, gone_edges))

    def commit(self) -> None:
        """End a series of changes: followers see all of them or none."""
        if not self._news:
            return
        self.sequence += 1
        for follower in self._followers:
            follower._hear(self._news, sum(self._counts_with_lent().values()) + len(self._edges))
        self._news = _News()

    def clear(self, lender: Lender | None = None) -> None:
        """Remove everything; followers start anew. From now on there is what somebody lends, too."""
        self._lender = lender
        self._nodes.clear()
        self._edges.clear()
        self._owned.clear()
        self._counts = dict.fromkeys(LAYER_IDS, 0)
        self._news = _News()
        self.sequence += 1
        for follower in self._followers:
            follower.start_anew()

    @property
    def layers(self) -> tuple[SceneLayer, ...]:
        """All layers as they stand."""
        counts = self._counts_with_lent()
        return tuple(SceneLayer(name, number, counts[name]) for name, number in LAYER_IDS.items())

    def view(self) -> SceneGraphView:
        """Return the graph as it stands."""
        lent = ([], []) if self._lender is None else (self._lender.nodes(), self._lender.edges())
        nodes = sorted([*self._nodes.values(), *lent[0]], key=lambda node: (_RANKS[node.layer], node.id))
        edges = sorted([*self._edges.values(), *lent[1]], key=lambda edge: edge.ends)
        return SceneGraphView(self.layers, tuple(nodes), tuple(edges), self.sequence)

    def follow(self) -> SceneGraphFollower:
        """Return a follower, who knows nothing yet."""
        follower = SceneGraphFollower(self)
        self._followers.add(follower)
        return follower

    def _chosen_nodes(self, ids: Sequence[int]) -> tuple[SceneNode, ...]:
        lent = [number for number in ids if self._is_lent(number)]
        made = {} if self._lender is None else {node.id: node for node in self._lender.nodes(lent)}
        return tuple(made[number] if number in made else self._nodes[number] for number in ids)

    def _chosen_edges(self, ends: Sequence[Ends]) -> tuple[SceneEdge, ...]:
        lent = [each for each in ends if self._is_lent(each[1])]
        made = {} if self._lender is None else {edge.ends: edge for edge in self._lender.edges(lent)}
        return tuple(made[each] if each in made else self._edges[each] for each in ends)

    def _is_lent(self, node: int) -> bool:
        return self._lender is not None and symbol_of(node) == self._lender.symbol

    def _counts_with_lent(self) -> dict[str, int]:
        return self._counts if self._lender is None else self._counts | {self._lender.layer: self._lender.count}


class SceneGraphFollower:
    """Collects what changes in a scene graph, until it is told."""

    def __init__(self, graph: KeptGraph) -> None:
        """See `KeptGraph.follow`."""
        self._graph = graph
        self._sequence = graph.sequence
        self._news: _News | None = None  # None: all is to be told

    def start_anew(self) -> None:
        """Tell everything next time."""
        self._news = None

    def changes(self) -> SceneGraphChanges:
        """Return how the graph has changed since the last call; the first time, and after `clear`, it starts anew."""
        graph, news, previous = self._graph, self._news, self._sequence
        self._news, self._sequence = _News(), graph.sequence
        if news is None:
            view = graph.view()
            return SceneGraphChanges(graph.sequence, previous, True, view.nodes, (), view.edges, (), view.layers)
        return SceneGraphChanges(
            graph.sequence,
            previous,
            False,
            graph._chosen_nodes(sorted(news.nodes)),
            tuple(sorted(news.gone_nodes)),
            graph._chosen_edges(sorted(news.edges)),
            tuple(sorted(news.gone_edges)),
            graph.layers,
        )

    def _hear(self, news: _News, size: int) -> None:
        """Learn what has changed in a graph of so many nodes and edges."""
        if self._news is None:
            return
        self._news.add(news)
        if self._news.gone > size:  # the whole graph is less than all that is gone
            self._news = None


class _News:
    """The ids of nodes and the ends of edges that are others than before, and of those that are gone."""

    def __init__(
        self,
        nodes: Iterable[int] = (),
        gone_nodes: Iterable[int] = (),
        edges: Iterable[Ends] = (),
        gone_edges: Iterable[Ends] = (),
    ) -> None:
        self.nodes, self.gone_nodes = set(nodes), set(gone_nodes)
        self.edges, self.gone_edges = set(edges), set(gone_edges)

    def __bool__(self) -> bool:
        return bool(self.nodes or self.gone_nodes or self.edges or self.gone_edges)

    @property
    def gone(self) -> int:
        return len(self.gone_nodes) + len(self.gone_edges)

    def put_node(self, number: int) -> None:
        self.nodes.add(number)
        self.gone_nodes.discard(number)

    def drop_node(self, number: int) -> None:
        self.gone_nodes.add(number)
        self.nodes.discard(number)

    def put_edge(self, ends: Ends) -> None:
        self.edges.add(ends)
        self.gone_edges.discard(ends)

    def drop_edge(self, ends: Ends) -> None:
        self.gone_edges.add(ends)
        self.edges.discard(ends)

    def add(self, later: _News) -> None:
        """Add what has happened later."""
        self.nodes = (self.nodes - later.gone_nodes) | later.nodes
        self.gone_nodes = (self.gone_nodes - later.nodes) | later.gone_nodes
        self.edges = (self.edges - later.gone_edges) | later.edges
        self.gone_edges = (self.gone_edges - later.edges) | later.gone_edges


_RANKS = {name: rank for rank, name in enumerate(LAYER_IDS)}
