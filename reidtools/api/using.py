"""A trained embedder at work: load it, embed pictures, find people."""

import logging
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn import functional as F
from yacs.config import CfgNode

from reidtools import build, processes
from reidtools.api.pictures import (
    Pictures,
    model_of,
    named,
    query_and_gallery,
    vectors_of,
    writing,
)
from reidtools.api.recipes import brought
from reidtools.api.sources import about
from reidtools.api.testing import filled
from reidtools.config import load as configs
from reidtools.data.datasets.listing import find_pictures
from reidtools.engine import logbook
from reidtools.evaluation import Ranking, Vectors, rank
from reidtools.modeling import Embedder
from reidtools.retrieval import (
    Accuracy,
    Hits,
    accuracy,
    camera_of,
    check_about,
    is_person,
    means,
    numbers,
    person_of,
    read_embeddings,
    search,
    tidy,
    write_csv,
    write_embeddings,
    write_results,
)

LOGGER = logging.getLogger("reidtools")


def load(checkpoint: str | Path, device: str = "auto", *, weights_format: str = "") -> Embedder:
    """The embedder in a file of weights, in evaluation mode, with its ``config``.

    One of our checkpoints brings all settings; the network of other weights is read from their
    tensors, and pictures are as by default (256 x 128, ImageNet's mean and deviation). Raises
    ValueError for a file that is of no network here, or does not fill it whole; `weights_format`,
    such as ``FastReID``, says whose it is where that is asked for.
    """
    logbook.set_up_logging()
    words = ["MODEL.DEVICE", device, "MODEL.WEIGHTS", str(checkpoint)]
    words += ["MODEL.WEIGHTS_FORMAT", weights_format]
    return at_work(configs.load("", words, base=brought(checkpoint, weights_format)))


def at_work(cfg: CfgNode) -> Embedder:
    """The embedder of MODEL.WEIGHTS, else with ImageNet weights, in evaluation mode."""
    on = build.device(cfg)
    model = filled(cfg) if cfg.MODEL.WEIGHTS else build.embedder(cfg, pretrain=True)
    model.config = cfg
    return model.to(on).eval()


def embed(model: Embedder, pictures: Pictures) -> Vectors:
    """The vectors of `pictures` with a `model` from `load`.

    `pictures` are a folder, a picture file or uint8 RGB array (H, W, 3), or a list of files and
    arrays; the paths of arrays are ``picture 0``, ``picture 1`` … by their place. A list or tuple
    among them is a tracklet, which gets one vector, called by its first frame, and `Sample`s, such
    as ``load_dataset(…).query``, bring their pids and camids, which are -1 for others. All are as
    coarse as TEST.GALLERY_SCALE, if it is set. Raises FileNotFoundError for a path that is not
    there, OSError for a file that is no picture, ValueError for another kind of array.
    """
    samples, arrays = named(pictures)
    return vectors_of(model.config, model, samples, strict=True, arrays=arrays)


def create_embeddings(
    cfg: CfgNode,
    *,
    in_subfolders: bool = False,
    centroids: bool = False,
    normalize: bool = False,
    strict: bool = False,
) -> list[Path]:
    """Embed the picture or the folder of pictures DATASETS.ROOT with MODEL.WEIGHTS; the files.

    They are embeddings.npy, float32 (N, D), and paths.npy (N,) in OUTPUT_DIR, else output_dir,
    sorted by path; embeddings.json beside them says which model made them. `in_subfolders` takes
    the pictures in all folders below, too; `normalize` makes vectors of length 1; `centroids` keeps
    one mean vector a person (of vectors as they are), with the person's name as its path. A file
    that is no picture is told and left out, or with `strict` an OSError. In each of several
    processes (torchrun) it embeds a share of them; the first writes them all.
    """
    logbook.set_up_logging()
    with processes.joined():
        return _create(cfg, in_subfolders, centroids, normalize, strict)


def _create(
    cfg: CfgNode, in_subfolders: bool, centroids: bool, normalize: bool, strict: bool
) -> list[Path]:
    paths = processes.from_first(lambda: find_pictures(cfg.DATASETS.ROOT, in_subfolders))
    if centroids and not any(is_person(person_of(path, cfg.DATASETS.ROOT)) for path in paths):
        raise ValueError(
            f"No file name in {cfg.DATASETS.ROOT} tells a person, so there are no centroids; name "
            "pictures like 0843_c1s4_054211_00.jpg, or put them into a folder for each person."
        )
    with writing(cfg) as folder:
        model = model_of(cfg)
        found = vectors_of(cfg, model, paths, strict, "gallery")
        if not processes.first():
            return []
        vectors, names = found.vectors.numpy(), found.paths
        if centroids:
            vectors, names = means(vectors, [person_of(path, cfg.DATASETS.ROOT) for path in names])
        if normalize:
            vectors = F.normalize(torch.from_numpy(vectors)).numpy()
        files = write_embeddings(folder, vectors, names, about=about(cfg, model))
    LOGGER.info("Written: %s %s, %s", files[0], vectors.shape, ", ".join(map(str, files[1:])))
    return files


def find_similar(
    cfg: CfgNode,
    gallery_data: str | Path,
    topk: int = 100,
    *,
    in_subfolders: bool = False,
    strict: bool = False,
) -> list[Path]:
    """Find the `topk` (0: all) nearest of a gallery for every picture in DATASETS.ROOT; the files.

    `gallery_data` is a folder that `create_embeddings` wrote with the same model. Distances are 1 -
    cosine. Writes results.npy and results.json (query path -> indices, paths, distances),
    query_embeddings.npy (of length 1) and query_paths.npy into OUTPUT_DIR, else output_dir.
    """
    logbook.set_up_logging()
    gallery, gallery_paths = read_embeddings(gallery_data)
    paths = find_pictures(cfg.DATASETS.ROOT, in_subfolders)
    model = model_of(cfg)
    if model.dim != gallery.shape[1]:
        raise ValueError(
            f"The gallery in {gallery_data} has vectors of {gallery.shape[1]} values, "
            f"{cfg.MODEL.WEIGHTS} makes {model.dim}; make the gallery again with this model."
        )
    check_about(gallery_data, about(cfg, model))
    with writing(cfg) as folder:
        query = vectors_of(cfg, model, paths, strict, "query")
        hits = search(query.vectors.numpy(), gallery, topk)
        files = write_results(folder, query.paths, gallery_paths, hits)
        unit = F.normalize(query.vectors).numpy()
        files += write_embeddings(folder, unit, query.paths, prefix="query_")
    LOGGER.info("Written: %s", ", ".join(map(str, files)))
    return files


class Inference(NamedTuple):
    """What `infer` found: each query's nearest gallery picture, and how often it was right.

    `people` are (predicted, true) names, empty where a file name does not tell. `accuracy` counts
    every nearest picture, `cross_camera` as the Market-1501 protocol does: without junk and without
    pictures of the query's person from the query's camera, among them the very frame the query was
    cut from. Either is None where the file names do not tell.
    """

    query_paths: list[str]
    gallery_paths: list[str]
    hits: Hits
    file: Path
    people: list[tuple[str, str]]
    accuracy: Accuracy | None
    cross_camera: Accuracy | None

    def __str__(self) -> str:
        lines = []
        for path, (pred, true) in zip(self.query_paths, self.people, strict=True):
            lines += [path, f"Pred: {pred or 'unknown'}, GT: {true or 'unknown'}"]
        if self.cross_camera is None:
            lines.append("The file names do not tell accuracy without same-camera hits.")
        else:
            lines.append(f"Without same-camera and same-frame hits: {self.cross_camera}")
        told = self.accuracy or "The file names tell no person, so there is no accuracy."
        return "\n".join([*lines, str(told)])


def infer(
    cfg: CfgNode,
    query_dir: str | Path,
    *,
    exclude_same_camera: bool = False,
    in_subfolders: bool = False,
    strict: bool = False,
) -> Inference:
    """Say who is seen in each picture of `query_dir`: the person of the nearest in DATASETS.ROOT.

    Writes result.csv into OUTPUT_DIR, else output_dir. With `exclude_same_camera` hits are those of
    `Inference.cross_camera`; queries that have none left are told and left out.
    """
    logbook.set_up_logging()
    root = cfg.DATASETS.ROOT
    sides = [find_pictures(query_dir, in_subfolders), find_pictures(root, in_subfolders)]
    model = model_of(cfg)
    with writing(cfg) as folder:
        query, gallery = query_and_gallery(cfg, model, *sides, strict)
        names = [person_of(path, query_dir) for path in query.paths]
        people = [person_of(path, root) for path in gallery.paths]
        ranked = _across_cameras(query, gallery, names, people)
        if ranked is None and exclude_same_camera:
            raise ValueError(
                "Hits of the query's own camera cannot be left out: the file names tell no person "
                "and camera in query and gallery, or nobody is seen by two cameras. Leave out "
                "--exclude-same-camera."
            )
        if exclude_same_camera:
            rows = (ranked.topk[:, 0] >= 0).nonzero().flatten().tolist()
            if len(rows) < len(names):
                LOGGER.warning("%d queries have no hit left.", len(names) - len(rows))
            hits = Hits(ranked.topk[rows].numpy(), ranked.topk_distances[rows].numpy())
            names, paths = [names[i] for i in rows], [query.paths[i] for i in rows]
        else:
            hits, paths = search(query.vectors.numpy(), gallery.vectors.numpy(), 1), query.paths
        file = folder / "result.csv"
        write_csv(file, paths, gallery.paths, hits, root)
    found = [people[i] for i in hits.indices[:, 0]]
    right = accuracy(names, found)
    honest = None
    if ranked is not None:
        honest = Accuracy(round(ranked.cmc[0].item() * ranked.num_valid), ranked.num_valid)
    LOGGER.info("Written: %s", file)
    pairs = [(tidy(a), tidy(b)) for a, b in zip(found, names, strict=True)]
    return Inference(paths, gallery.paths, hits, file, pairs, right, honest)


def _across_cameras(
    query: Vectors, gallery: Vectors, names: list[str], people: list[str]
) -> Ranking | None:
    """The ranking by the Market-1501 protocol; None where names do not tell, or nobody matches."""
    pids = numbers(names, people)
    camids = [[camera_of(path) for path in side.paths] for side in (query, gallery)]
    if -1 in camids[0] + camids[1]:
        return None
    seen_by: dict[int, set[int]] = {}
    for pid, camid in zip(pids[1], camids[1], strict=True):
        seen_by.setdefault(pid, set()).add(camid)
    asked = zip(pids[0], camids[0], strict=True)
    if not any(pid >= 0 and seen_by.get(pid, set()) - {camid} for pid, camid in asked):
        return None
    known = (
        Vectors(side.vectors, pid, camid, side.paths)
        for side, pid, camid in zip((query, gallery), pids, camids, strict=True)
    )
    return rank(*known, topk=1)
