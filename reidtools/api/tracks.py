"""Features of the tracks in a video, as files."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from yacs.config import CfgNode

from reidtools import build
from reidtools.api.pictures import model_of
from reidtools.api.recipes import get_config
from reidtools.engine import logbook
from reidtools.files import make_folder, writing_into
from reidtools.tracks import (
    extract,
    read_features,
    read_tracks,
    write_features,
    write_metadata,
)
from reidtools.tracks.crops import crops_in, remove_crops, replace_crops
from reidtools.tracks.features import Tracks
from reidtools.tracks.pose2id import centralize_tracks
from reidtools.tracks.video import Source, open_frames

LOGGER = logging.getLogger("reidtools")
RULE = "=" * 70
WEIGHTS = (
    "osnet_x1_0_market_256x128_amsgrad_ep150_stp60_lr0.0015_b64_fb10_softmax_labelsmooth_flip.pth"
)
ENDINGS, METADATA = ("pkl", "npz"), "track_metadata.json"


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


def extraction_config(
    files: Sequence[str | Path] = (),
    overrides: Sequence[str] = (),
    *,
    size: Sequence[int | str] = (),
    device: str = "",
    flip_test: bool = False,
) -> CfgNode:
    """`get_config` with what the documented tool is asked for, and its defaults.

    `size` is height and width of crops, `device` also a GPU's number, empty for a GPU if there is
    one. Without MODEL.WEIGHTS and without `files` torchreid's OSNet of Market-1501 counts, which
    has to lie in this folder; else a FileNotFoundError says so.
    """
    words = list(overrides)
    if device or "MODEL.DEVICE" not in words:
        on = f"cuda:{device}" if device.isdecimal() else device or "auto"
        words += ["MODEL.DEVICE", on]
    if size:
        words += ["INPUT.SIZE_TRAIN", f"[{', '.join(map(str, size))}]", "INPUT.SIZE_TEST", "[]"]
    if flip_test:
        words += ["TEST.FLIP", "raw"]
    if not (files or "MODEL.WEIGHTS" in words):
        if not Path(WEIGHTS).is_file():
            raise FileNotFoundError(
                f"Name the weights (--reid-model, MODEL.WEIGHTS); by default they are {WEIGHTS} of "
                "torchreid's model zoo, which is not in this folder."
            )
        words += ["MODEL.WEIGHTS", WEIGHTS]
    return get_config(files, words)


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
    with `save_crops`, crops/track_0001/frame_000005_000.jpg … into `output_dir`. An extraction that
    is there is only replaced with `replace`: its features, and its crops, once the new ones are
    complete. What was complete before an error, or before the user stopped, is written and told.
    Raises ValueError where nothing is to be made.
    """
    logbook.set_up_logging()
    folder = Path(output_dir)
    crops, fresh = folder / "crops", folder / "crops.partial"
    boxes = read_tracks(tracks, min_confidence)
    frames = open_frames(source)
    before = [folder / f"track_features.{ending}" for ending in ENDINGS]
    there = [path for path in (*before, folder / METADATA, *crops_in(crops)[:1]) if path.exists()]
    if there and not replace:
        raise ValueError(
            f"{there[0]} is there already; choose another --output-dir, or replace it with "
            "--replace."
        )
    scale = cfg.TEST.QUERY_SCALE or 1
    build.check_scales("TEST.QUERY_SCALE", [scale], build.size_test(cfg))
    found: Tracks = {}
    with writing_into(folder, "--output-dir"):
        model = model_of(cfg)
        amp = build.amp_dtype(cfg, model.device)
        runs = build.at_speed(cfg, model, len(boxes.ids), amp)
        remove_crops(fresh)  # of an extraction that was killed
        options = {
            "max_crops": max_crops,
            "batch_size": cfg.TEST.IMS_PER_BATCH,
            "flip": cfg.TEST.FLIP,
            "amp": amp,
            "scale": scale,
            "normalize": normalize,
            "crops_folder": fresh if save_crops else None,
        }
        try:
            for number, track in extract(frames, boxes, runs, **options):
                found[number] = track
        except BaseException:
            if found:
                _keep(folder, found, crops, fresh, beside=bool(there))
            remove_crops(fresh)
            raise
        if not found:
            raise ValueError(
                f"No box of {tracks} could be cut out of the video, so nothing was made; check "
                "that they belong together: frames count from 1, boxes are left, top, width, "
                "height."
            )
        _write(folder, found, crops, fresh)
    return Extraction(folder, dict(sorted(found.items())), crops if save_crops else None)


def _keep(folder: Path, found: Tracks, crops: Path, fresh: Path, *, beside: bool) -> None:
    """Write the tracks of an extraction that stopped; `beside` those of one before, which stay."""
    place = "the files"
    if beside:
        place = folder / "track_features.partial.npz"
        write_features(place, dict(sorted(found.items())))
    else:
        _write(folder, found, crops, fresh)
    LOGGER.error("Stopped: %d tracks were complete and are in %s.", len(found), place)


def _write(folder: Path, found: Tracks, crops: Path, fresh: Path) -> None:
    """Write the tracks `found`; the crops in `fresh`, if any, take the place of those before."""
    found = dict(sorted(found.items()))
    files = [folder / f"track_features.{ending}" for ending in ENDINGS]
    for file in files:
        write_features(file, found)
    files.append(folder / METADATA)
    write_metadata(files[-1], found)
    replace_crops(crops, fresh)
    LOGGER.info("Written: %s", ", ".join(map(str, files)))


def centralize_track_features(
    features: str | Path, output: str | Path, *, scope: str = "track", k1: int = 2, k2: int = 2
) -> Tracks:
    """Apply Pose2ID's NFC to a file of track features; `output` has the same form.

    See `reidtools.tracks.pose2id.centralize_tracks`.
    """
    logbook.set_up_logging()
    refuse_same(features, output)
    found = centralize_tracks(read_features(features), scope=scope, k1=k1, k2=k2)
    make_folder(Path(output).absolute().parent, "--output")
    write_features(output, found)
    LOGGER.info("Written: %s: %d tracks, neighbours within %s", output, len(found), scope)
    return found


def refuse_same(features: str | Path, output: str | Path) -> None:
    """Raise a ValueError where `output` would replace the `features` that it is made from."""
    if Path(features).resolve() == Path(output).resolve():
        raise ValueError(f"{output} is the file that is read; choose another --output.")
