"""Pictures of the texts that a training compares with, in the course of it."""

from collections.abc import Callable
from pathlib import Path

from reidtools import processes
from reidtools.engine.objective import Objective
from reidtools.engine.trainer import Progress
from reidtools.files import make_folder
from reidtools.visualize.maps import require_method
from reidtools.visualize.text_features import text_feature_page


def text_maps(objective: Objective, run: Path, every: int) -> Callable[[Progress], None]:
    """What draws each person's text as CLIP sees it, of the loss that has any.

    After the first iteration and after every so many, into `run`/text_features_viz; 0 never draws.
    """
    losses = [loss for loss in objective.losses.values() if hasattr(loss, "of_each_person")]
    if not every or not losses or not processes.first():
        return lambda progress: None
    if len(losses[0].context) < 3:
        raise ValueError("LOG.TEXT_MAPS draws the texts of 3 people or more; set it to 0.")
    require_method("tsne")
    folder = make_folder(run / "text_features_viz")

    def draw(progress: Progress) -> None:
        if progress.iteration == 1 or progress.iteration % every == 0:
            name = f"epoch_{progress.epoch}_step_{progress.iteration}_2d_viz.png"
            text_feature_page(*losses[0].of_each_person(), folder / name)

    return draw
