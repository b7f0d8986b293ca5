"""Files of track features: made shorter, drawn, compared, and given ids across cameras."""

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from reidtools.api.tracks import refuse_same
from reidtools.engine import logbook
from reidtools.files import make_folder, write_csv, write_json, write_whole
from reidtools.registry import choose
from reidtools.tracks import association, reduction
from reidtools.tracks.association import EPS, MIN_SAMPLES, THRESHOLD, Conflict, Ids
from reidtools.tracks.features import Tracks, read_features, write_features
from reidtools.tracks.scores import Scores, identity_scores
from reidtools.visualize.figures import require_matplotlib
from reidtools.visualize.maps import require_method
from reidtools.visualize.track_pictures import heat_map, track_map

LOG = logging.getLogger("reidtools")
# Files by the names of their cameras, or words that name both; see `read_cameras`.
Features = str | Path | Sequence[str | Path] | Mapping[str, str | Path]
METHODS = ("hungarian", "dbscan")


@dataclass(frozen=True)
class Association:
    """What `associate_tracks` found: `ids` of tracks by camera, `conflicts`, `scores` if asked."""

    ids: Ids
    conflicts: list[Conflict]
    scores: Scores | None

    def __str__(self) -> str:
        from tabulate import tabulate

        cameras = Counter(number for ids in self.ids.values() for number in set(ids.values()))
        head = ["camera", "tracks", "global ids", "seen elsewhere"]
        rows = [
            (name, len(ids), len(own := set(ids.values())), sum(cameras[n] > 1 for n in own))
            for name, ids in self.ids.items()
        ]
        tracks = sum(map(len, self.ids.values()))
        rows.append(("all", tracks, len(cameras), sum(count > 1 for count in cameras.values())))
        lines = [tabulate(rows, head, "pipe")]
        if self.scores:
            names = ("IDF1", "IDP", "IDR", "AssA")
            figures = zip(names, self.scores, strict=True)
            lines.append(", ".join(f"{name} {100 * share:.2f}%" for name, share in figures))
        return "\n".join(lines)


def reduce_tracks(
    features: str | Path,
    output: str | Path,
    *,
    components: int | None = None,
    pca: str | Path | None = None,
    save_pca: str | Path | None = None,
) -> Tracks:
    """Write the tracks in `features` with vectors of `components` values, 128, into `output`.

    They are principal components, fitted on all crops and, if asked, kept in `save_pca`; with those
    in the file `pca` nothing is fitted. Of few crops there are fewer, with a warning. The schema
    stays. Raises ValueError for a `pca` of vectors of another length, or given with `components`.
    """
    logbook.set_up_logging()
    refuse_same(features, output)
    if pca and (components is not None or save_pca):
        raise ValueError(
            "A saved PCA brings its components, and is saved; give it, or components and a file to "
            "save in."
        )
    if save_pca and (Path(save_pca).suffix != ".npz" or Path(save_pca) == Path(output)):
        raise ValueError(f"{save_pca} must be another file than {output}, and end in .npz.")
    tracks = read_features(features)
    wanted = reduction.COMPONENTS if components is None else components
    axes = reduction.load(pca) if pca else reduction.fit(tracks, wanted)
    reduced = reduction.reduced(tracks, axes)
    make_folder(Path(output).absolute().parent, "--output")
    write_features(output, reduced)
    if save_pca:
        make_folder(Path(save_pca).absolute().parent, "--save-pca")
        reduction.save(save_pca, axes)
    dims, total = (len(part) for part in (axes.components, axes.mean))
    LOG.info("Written: %s: %d tracks, %d values instead of %d", output, len(reduced), dims, total)
    return reduced


def map_tracks(
    features: Features, output: str | Path = "features_vis.png", *, method: str = "tsne"
) -> Path:
    """Draw a map of all tracks of one or several cameras into the PNG `output`; see `track_map`."""
    logbook.set_up_logging()
    require_method(method)
    cameras = read_cameras(features)
    association.check_cameras(cameras)
    vectors = np.concatenate([association.stacked(tracks) for tracks in cameras.values()])
    numbers = [number for tracks in cameras.values() for number in sorted(tracks)]
    names = [name for name, tracks in cameras.items() for _ in tracks] if len(cameras) > 1 else []
    track_map(vectors, numbers, output, method=method, cameras=names)
    LOG.info("Written: %s: %d tracks", output, len(numbers))
    return Path(output)


def compare_tracks(features: Features, output_dir: str | Path) -> list[Path]:
    """Write how similar the tracks of each pair of cameras are; of one, to each other; the files.

    Each pair has ``similarity_<a>_vs_<b>`` with ``.npy``, float32 (N, M), ``.csv``, which has the
    ids in its first row and column, and ``.png``, a heat map. Rows and columns are sorted by id.
    """
    logbook.set_up_logging()
    require_matplotlib()
    cameras = read_cameras(features)
    association.check_cameras(cameras)
    folder = make_folder(Path(output_dir), "--output-dir")
    files = []
    for one, two in list(combinations(cameras, 2)) or [(name, name) for name in cameras]:
        first, second = (association.stacked(cameras[name]) for name in (one, two))
        found = association.similarity(first, None if one == two else second)
        ids = [sorted(cameras[name]) for name in (one, two)]
        base = f"similarity_{one}_vs_{two}"
        npy, table, picture = (folder / f"{base}{end}" for end in (".npy", ".csv", ".png"))
        write_whole(npy, lambda file, found=found: np.save(file, found.astype(np.float32)))
        rows = ([n, *(f"{v:.6f}" for v in row)] for n, row in zip(ids[0], found, strict=True))
        write_csv(table, [["", *ids[1]], *rows])
        heat_map(found, *ids, picture, names=(one, two))
        files += [npy, table, picture]
    LOG.info("Written: %s", ", ".join(map(str, files)))
    return files


def associate_tracks(
    features: Features,
    output_dir: str | Path,
    *,
    method: str = "hungarian",
    threshold: float = THRESHOLD,
    eps: float = EPS,
    min_samples: int = MIN_SAMPLES,
    ground_truth: str | Path | None = None,
) -> Association:
    """Give the tracks of several cameras one id a person, and write who is who into `output_dir`.

    ``global_id_mapping.json`` is ``{camera: {track: global id}}``. With the method ``"hungarian"``
    (see `associate_by_assignment`, `threshold`) ``pairwise_matches.json`` lists ``{cam1, track1,
    cam2, track2, similarity}``; with ``"dbscan"`` (`associate_by_clusters`, `eps`, `min_samples`)
    ``clusters.json`` is ``{global id: [{camera, track}, …]}`` without the noise. Tracks that one
    camera saw in one frame and that got one id are told. The file `ground_truth` has the form of
    global_id_mapping.json; each track that it names counts with its crops, the others not at all.
    """
    logbook.set_up_logging()
    choose("method", method, dict.fromkeys(METHODS))
    cameras = read_cameras(features)
    if ground_truth and Path(ground_truth).resolve().parent == Path(output_dir).resolve():
        raise ValueError(
            f"{ground_truth} lies in {output_dir}, whose files are written anew; choose another "
            "--output-dir."
        )
    truth = _read_truth(Path(ground_truth), cameras) if ground_truth else None
    if method == "hungarian":
        ids, matches = association.associate_by_assignment(cameras, threshold=threshold)
        beside: tuple[str, Any] = ("pairwise_matches.json", [match._asdict() for match in matches])
    else:
        ids, clusters = association.associate_by_clusters(cameras, eps=eps, min_samples=min_samples)
        named = {
            str(ids[camera][number]): [{"camera": c, "track": n} for c, n in cluster]
            for cluster in clusters
            for camera, number in cluster[:1]
        }
        beside = ("clusters.json", named)
    folder = make_folder(Path(output_dir), "--output-dir")
    rows = {name: {str(n): own for n, own in numbers.items()} for name, numbers in ids.items()}
    write_json(folder / "global_id_mapping.json", rows)
    write_json(folder / beside[0], beside[1])
    for other in {"pairwise_matches.json", "clusters.json"} - {beside[0]}:
        (folder / other).unlink(missing_ok=True)  # of another method: it would contradict
    LOG.info("Written: %s, %s", folder / "global_id_mapping.json", folder / beside[0])
    impossible = association.conflicts(cameras, ids)
    cure = "choose a higher --threshold" if method == "hungarian" else "choose a smaller --eps"
    _warn(impossible, cure)
    return Association(ids, impossible, _scored(cameras, ids, truth) if truth else None)


def read_cameras(features: Features) -> dict[str, Tracks]:
    """Tracks by the name of their camera, in the order of `features`.

    A word is a path or ``NAME=path``; a mapping has the names as its keys. A path without a name is
    called by its stem, or, where stems are equal or ``track_features``, as each extraction calls
    its file, by its folder. Raises ValueError where names are equal or hold a slash, and what
    `read_features` raises.
    """
    if isinstance(features, Mapping):
        named = [(name, Path(path)) for name, path in features.items()]
    else:
        words = [features] if isinstance(features, str | Path) else features
        named = _named([_split(word) for word in words])
    if not named:
        raise ValueError("There is no file of features to read; name one or more.")
    doubles = [name for name, count in Counter(name for name, _ in named).items() if count > 1]
    if doubles or any("/" in name or not name for name, _ in named):
        raise ValueError(
            f"The cameras {', '.join(name or '(empty)' for name, _ in named)} need names of their "
            "own, without a slash; give them as NAME=path."
        )
    return {name: read_features(path) for name, path in named}


def _split(word: str | Path) -> tuple[str, Path]:
    """The name, which may be empty, and the path in a word."""
    name, sign, path = str(word).partition("=")
    if not sign or not name or "/" in name or Path(word).exists():
        return "", Path(word)
    return name, Path(path)


def _named(words: Sequence[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """A name for each file that was typed without one."""
    # Every extraction calls its file track_features, which tells nothing.
    stems = Counter(["track_features", *(path.stem for name, path in words if not name)])
    return [
        (name or (path.absolute().parent.name if stems[path.stem] > 1 else path.stem), path)
        for name, path in words
    ]


def _warn(found: Sequence[Conflict], cure: str) -> None:
    """Tell of tracks that are hardly one person."""
    if found:
        told = [f"{c.camera} T{c.track1} and T{c.track2} (id {c.global_id})" for c in found]
        more = ", …" if len(told) > 10 else ""
        LOG.warning(
            "%d pairs of tracks have one id, but one camera saw both at the same time: %s%s. They "
            "are two people, unless the tracker saw somebody twice; %s.",
            len(told),
            ", ".join(told[:10]),
            more,
            cure,
        )


def _read_truth(path: Path, cameras: Mapping[str, Tracks]) -> dict[tuple[str, int], object]:
    """The true id of each (camera, track) that both `path` and `cameras` know; the rest is told."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path.absolute()}; name the true ids as JSON.")
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
        named = {(c, int(n)): own for c, tracks in found.items() for n, own in tracks.items()}
        if bad := [own for own in named.values() if not isinstance(own, int | str)]:
            raise ValueError(f"{bad[0]} is no id")
    except (ValueError, AttributeError, RecursionError) as error:  # no JSON, or something else
        raise ValueError(
            f"{path} holds no true ids ({error}); write {{camera: {{track: id}}}}, as "
            "global_id_mapping.json."
        ) from error
    known = {(camera, number) for camera, tracks in cameras.items() for number in tracks}
    if not known & named.keys():
        raise ValueError(
            f"{path} names none of the tracks that have features; it names the cameras "
            f"{', '.join(map(str, found))}, and they are {', '.join(cameras)}: call them alike."
        )
    lists = {
        "is not in the ground truth": known - named.keys(),
        "has no features": named.keys() - known,
    }
    for what, keys in lists.items():
        if keys:
            told = ", ".join(f"{camera} T{number}" for camera, number in sorted(keys)[:10])
            LOG.warning("Left out of the figures, as it %s: %d tracks (%s).", what, len(keys), told)
    return {key: own for key, own in named.items() if key in known}


def _scored(
    cameras: Mapping[str, Tracks], ids: Ids, truth: Mapping[tuple[str, int], object]
) -> Scores:
    predicted = {(camera, number): ids[camera][number] for camera, number in truth}
    frames = {(c, n): len(cameras[c][n].frame_indices) for c, n in truth}
    return identity_scores(predicted, truth, frames)
