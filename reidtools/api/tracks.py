"""Features of the tracks in a video, as files."""

import logging
import re
from pathlib import Path
from typing import NamedTuple

from yacs.config import CfgNode

from reidtools import build
from reidtools.api.pictures import model_of
from reidtools.engine import logbook
from reidtools.files import make_folder, writing_into
from reidtools.modeling import Embedder
from reidtools.tracks import (
    TrackBoxes,
    extract,
    read_features,
    read_tracks,
    write_features,
    write_metadata,
)
from reidtools.tracks.features import Tracks
from reidtools.tracks.pose2id import centralize_tracks
from reidtools.tracks.video import Source, open_frames

LOGGER = logging.getLogger("reidtools")
RULE = "=" * 70
CROP = re.compile(r"frame_\d+_\d+\.jpg")


class Extraction(NamedTuple):
    """What `extract_tracks` made: printed, it is the summary of the documented tool."""

    folder: Path
    tracks: Tracks
    crops: Path | None

    def __str__(self) -> str:
        dim = len(next(iter(self.tracks.values())).features)
        rows = {
            "Total tracks:": len(self.tracks),
            "Feature dimension:": dim,
            "Output directory:": self.folder,
        }
        if self.crops:
            rows["Crops saved:"] = self.crops
        lines = [f"{label:<20}{value}" for label, value in rows.items()]
        return "\n".join(["", RULE, "EXTRACTION SUMMARY", RULE, *lines, RULE])


def extract_tracks(
    cfg: CfgNode,
    source: Source,
    tracks: str | Path,
    output_dir: str | Path = "runs/step3_reid_features",
    *,
    save_crops: bool = False,
    max_crops: int = 10,
    normalize: bool = False,
    min_confidence: float | None = None,
    replace: bool = False,
) -> Extraction:
    """Embed the people in a video along their tracks with MODEL.WEIGHTS; see `tracks.extract`.

    Writes track_features.pkl and .npz (the same, opened without pickle), track_metadata.json and,
    with `save_crops`, crops/track_0001/frame_000005_000.jpg … into `output_dir`. Features that are
    there are only replaced with `replace`, and so are crops. What was complete before an error, or
    before the user stopped, is written and told. Raises ValueError where nothing is to be made.
    """
    logbook.set_up_logging()
    folder = Path(output_dir)
    crops = folder / "crops" if save_crops else None
    boxes = read_tracks(tracks, min_confidence)
    open_frames(source)  # what is not there is told before a model is built
    before = [folder / "track_features.pkl", *(crops.glob("*") if crops else ())]
    there = [path for path in before if path.exists()]
    if there and not replace:
        raise ValueError(
            f"{there[0]} is there already; choose another --output-dir, or replace it with "
            "--replace."
        )
    with writing_into(folder, "--output-dir"):
        model = model_of(cfg)
        if crops and replace:
            _remove_crops(crops)
        found = _extracted(cfg, source, boxes, model, folder, max_crops, normalize, crops)
        if not found:
            raise ValueError(
                f"No box of {tracks} could be cut out of the video, so nothing was made; check "
                "that they belong together: frames count from 1, boxes are left, top, width, "
                "height."
            )
        _write(folder, found)
    return Extraction(folder, found, crops)


def _extracted(
    cfg: CfgNode,
    source: Source,
    boxes: TrackBoxes,
    model: Embedder,
    folder: Path,
    max_crops: int,
    normalize: bool,
    crops: Path | None,
) -> Tracks:
    """All tracks, by id; if the work stops on the way, those that were complete are written."""
    found: Tracks = {}
    options = {
        "max_crops": max_crops,
        "batch_size": cfg.TEST.IMS_PER_BATCH,
        "flip": cfg.TEST.FLIP,
        "amp": build.amp_dtype(cfg, model.device),
        "scale": cfg.TEST.QUERY_SCALE or 1,
        "normalize": normalize,
        "crops_folder": crops,
    }
    try:
        for number, track in extract(source, boxes, model, **options):
            found[number] = track
    except BaseException:
        if found:
            LOGGER.error("Stopped: the %d tracks that were complete are kept.", len(found))
            _write(folder, dict(sorted(found.items())))
        raise
    return dict(sorted(found.items()))


def _write(folder: Path, found: Tracks) -> None:
    files = [folder / f"track_features.{ending}" for ending in ("pkl", "npz")]
    for file in files:
        write_features(file, found)
    files.append(folder / "track_metadata.json")
    write_metadata(files[-1], found)
    LOGGER.info("Written: %s", ", ".join(map(str, files)))


def _remove_crops(folder: Path) -> None:
    """Take away the crops of an earlier extraction, and nothing else."""
    for track in folder.glob("track_*"):
        for file in track.iterdir():
            if CROP.fullmatch(file.name):
                file.unlink()
        if not any(track.iterdir()):
            track.rmdir()


def centralize_track_features(
    features: str | Path, output: str | Path, *, scope: str = "track", k1: int = 2, k2: int = 2
) -> Tracks:
    """Apply Pose2ID's NFC to a file of track features; `output` has the same form.

    See `reidtools.tracks.pose2id.centralize_tracks`.
    """
    logbook.set_up_logging()
    found = centralize_tracks(read_features(features), scope=scope, k1=k1, k2=k2)
    make_folder(Path(output).absolute().parent, "--output")
    write_features(output, found)
    LOGGER.info("Written: %s: %d tracks, neighbours within %s", output, len(found), scope)
    return found
