"""Describes an architecture in words, with its cost, and in a picture."""

from pathlib import Path

from enas_tf.core.errors import UserError
from enas_tf.core.space import Arc, Space
from enas_tf.experiment.domain import Domain
from enas_tf.experiment.settings import Settings


def describe(space: Space, arc: Arc, settings: Settings, domain: Domain, sizes: tuple) -> str:
    """Explains an architecture, and draws it if the settings name an output file.

    Args:
        space: the space that holds the architecture.
        arc: the architecture to explain.
        settings: the settings of the run, from which the final network is derived.
        domain: the domain of the data.
        sizes: the sizes of the data, as the domain defines them.

    Returns:
        A text that says what the architecture computes; the final network's parameters and
        multiply-adds, or why no such network can be built; and how many architectures the space
        holds. With a format, the architecture in this form alone.

    Raises:
        UserError: if the picture cannot be written, or the space has no such format.
    """
    if settings.common.output:
        from enas_tf.reporting.drawing import draw  # imports matplotlib, so only to draw

        draw(space.graphs(arc), Path(settings.common.output))
    if settings.common.format:
        return space.write_form(arc, settings.common.format)
    count = f"the space holds {space.count():,} architectures"
    if space.paper_count():
        count += f" as the controller draws them, {space.paper_count():,} by the paper"
    return "\n".join([space.explain(arc), "", _cost(arc, settings, domain, sizes), count])


def _cost(arc: Arc, settings: Settings, domain: Domain, sizes: tuple) -> str:
    try:
        cost = domain.count_cost(arc, settings, sizes)
    except UserError as error:
        return f"no final network can be built: {error}"
    description = settings.train.child(settings.child).description
    return (
        f"final network ({description}): {cost.params:,} parameters, "
        f"{cost.multiply_adds:,} multiply-adds {domain.example(sizes)}"
    )
