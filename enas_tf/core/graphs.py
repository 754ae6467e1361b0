"""The graphs that drawings of an architecture show."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """A box in a drawing; `role` is `"input"`, `"op"`, `"node"` or `"output"`."""

    key: str
    label: str
    role: str


@dataclass(frozen=True)
class Edge:
    """An arrow in a drawing, from the node with key `source` to the node with key `target`."""

    source: str
    target: str
    label: str = ""


@dataclass(frozen=True)
class Graph:
    """A drawing of a cell or a network; every edge joins two of its nodes."""

    title: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
