"""An architecture in words and in a picture, with what it costs."""

from pathlib import Path

from enas_tf.domains.base import Domain
from enas_tf.layers.dropout import Clock
from enas_tf.settings import Settings
from enas_tf.spaces.base import Arc, Space


def describe(space: Space, arc: Arc, settings: Settings, domain: Domain, sizes: tuple) -> str:
    """Explains an architecture, and draws it where the settings name a file for it.

    Args:
        space: that holds it.
        arc: the architecture.
        settings: of the final network.
        domain: of the data.
        sizes: the domain's, of the data.

    Returns:
        What it computes, the final network's parameters and multiply-adds, and how many
        architectures the space holds.

    Raises:
        UserError: no final network can be built from it, or the picture cannot be written.
    """
    config = settings.train.child(settings.child)
    network = domain.network(arc, settings, sizes, Clock(1, 0))
    if settings.common.output:
        from enas_tf.drawing import draw  # matplotlib, which a search does not need

        draw(space.graphs(arc), Path(settings.common.output))
    lines = [
        space.explain(arc),
        "",
        f"final network ({config.description}): {domain.count_params(arc, settings, sizes):,} "
        f"parameters, {domain.cost(network, sizes)}",
        f"the space holds {space.count():,} architectures",
    ]
    if space.paper_count():
        lines[-1] += f" as the controller draws them, {space.paper_count():,} by the paper"
    return "\n".join(lines)
