"""What the phases of a run were done for, so that none is repeated or mistaken for another."""

import hashlib
from dataclasses import asdict

from enas_tf.core.errors import UserError
from enas_tf.search.derive import OUTPUTS, DeriveConfig
from enas_tf.training.run_folder import Run, differences


def mark_derived(run: Run, config: DeriveConfig, step: int) -> None:
    """Records that a search was derived at its step, by these settings."""
    run.mark_done("derive", outputs=OUTPUTS, step=step, config=asdict(config))


def is_derived(run: Run, config: DeriveConfig) -> bool:
    """Returns whether the finished search was derived by these settings."""
    return _derived_by(run, config) == ""


def refuse_a_training(run: Run, config: DeriveConfig) -> None:
    """Raises UserError if the run holds a training that these settings would not lead to."""
    trained = run.path("train/arc.txt")
    if not trained.exists():
        return
    if others := _derived_by(run, config):
        raise UserError(
            f"{run.folder} holds the training of an architecture that was derived by other "
            f"settings: {others}; give the same ones, or train what these derive in another "
            "--workdir, by --arc"
        )
    raise UserError(
        f"{run.folder} holds the training of an architecture that no finished search has "
        f"derived; go on with it by --arc={trained}, or search in another --workdir"
    )


def result_digest(run: Run) -> str:
    """Returns the digest of the training's result, which identifies the trained network."""
    # The result holds the seconds of the training, so another training has another digest.
    return hashlib.sha256(run.path("train/result.json").read_bytes()).hexdigest()


def _derived_by(run: Run, config: DeriveConfig) -> str | None:
    """Returns by which other settings the search's result was derived; None if it was not."""
    search, derived = run.done_facts("search"), run.done_facts("derive")
    if not search or not derived or search["step"] != derived["step"]:
        return None
    # A version that did not have some of the settings yet did what their defaults do.
    old = asdict(DeriveConfig()) | derived["config"]
    return differences({"derive": old}, {"derive": asdict(config)})
