"""Questions to ask a dataset before the first epoch instead of after the last."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from tqdm import tqdm

from reidtools.data.samples import Sample, Splits
from reidtools.ops.protocol import ignores_own_camera

JPEG, PNG, BMP = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM"
TAIL = 1024  # bytes; some cameras write a little after the end of the picture


def preflight(
    splits: Splits,
    *,
    num_instance: int = 0,
    people_per_batch: int = 0,
    camera_filter: str = "market",
    training: bool = True,
) -> list[str]:
    """Warnings about `splits`; what would make a run pointless is a `ValueError` with every cause.

    Looked for are empty splits, files that are no whole pictures (by their first and last bytes:
    about a second for 20,000 files), queries without a match, and, if `training`, a single person;
    fewer people than a batch of `people_per_batch` people with `num_instance` pictures each (0:
    any) are a warning, since such batches are smaller. With the
    `camera_filter` ``market`` only pictures from another camera than the query's are a match, with
    ``none`` all are.
    """
    other_camera = ignores_own_camera(camera_filter)
    wanted = splits._fields if training else splits._fields[1:]
    lists = {name: getattr(splits, name) for name in wanted}
    valid = _valid_queries(splits, other_camera)
    causes = [
        f"The {name} split is empty: check that its folder has pictures and that DATASETS.ROOT is "
        "the folder you mean."
        for name, samples in lists.items()
        if not samples
    ]
    causes += [
        f"{bare} tracklets of {name} have no frames; restore or remove them."
        for name, samples in lists.items()
        if (bare := sum(not sample.paths for sample in samples))
    ]
    causes += _unreadable(path for samples in lists.values() for s in samples for path in s.paths)
    if splits.query and splits.gallery and not valid:
        causes.append(_no_match(splits))
    people = len({sample.pid for sample in splits.train})
    if training and people == 1 and people_per_batch:
        causes.append("train has one person, and there is nobody to tell it from: add others.")
    if causes:
        raise ValueError("This dataset cannot be used:\n" + "\n".join(f"- {c}" for c in causes))
    warnings = _few_people(people, num_instance, people_per_batch) if training else []
    warnings += _lonely(splits.train, num_instance) if training else []
    return warnings + _unanswerable(splits, valid) + _in_both(splits)


def flaw(path: str) -> str:
    """What is wrong with the picture file at `path`, in a few words; empty if nothing is.

    Only its ends are read: the magic bytes of JPEG, PNG or BMP, and the mark that ends the file.
    """
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - Path.open is slower
            head = file.read(8)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL))
            tail = file.read()
    except OSError as error:
        return error.strerror or str(error)
    if size == 0:
        return "zero bytes"
    if not head.startswith((JPEG, PNG, BMP)):
        return "not a JPEG, PNG or BMP"
    if head.startswith(BMP):
        whole = size >= int.from_bytes(head[2:6], "little")  # a BMP tells its own size
    else:
        whole = (b"\xff\xd9" if head.startswith(JPEG) else b"IEND") in tail
    return "" if whole else "truncated"


def _unreadable(paths: Iterable[str]) -> list[str]:
    unique = sorted(set(paths))
    with ThreadPoolExecutor(8) as pool:  # for disks that answer slowly, over a network
        # Few large pieces: handing over one path at a time would cost more than reading it.
        pieces = [unique[start : start + 500] for start in range(0, len(unique), 500)]
        found = pool.map(lambda piece: [flaw(path) for path in piece], pieces)
        bar = tqdm(found, "Looking through pictures", len(pieces), False, disable=None, delay=2)
        flaws = [what for piece in bar for what in piece]
    bad = [f"{path} ({what})" for path, what in zip(unique, flaws, strict=True) if what]
    if not bad:
        return []
    return [
        f"{len(bad)} of {len(unique)} pictures cannot be read: {first(bad, 10)}. Copy them again "
        "or delete them."
    ]


def first(things: Sequence[object], count: int = 5) -> str:
    """The first of the `things`, with a mark if there are more."""
    return ", ".join(map(str, things[:count])) + (" …" if len(things) > count else "")


def _valid_queries(splits: Splits, other_camera: bool) -> list[Sample]:
    """Queries whose person is in the gallery, under another camera if so ruled."""
    cameras: dict[int, set[int]] = {}
    for sample in splits.gallery:
        cameras.setdefault(sample.pid, set()).add(sample.camid)
    return [
        query
        for query in splits.query
        if cameras.get(query.pid, set()) - ({query.camid} if other_camera else set())
    ]


def _no_match(splits: Splits) -> str:
    """Why no query at all has a match in the gallery: the commonest complaint of the field."""
    asked, there = ({s.pid for s in samples} for samples in (splits.query, splits.gallery))
    start = f"None of the {len(splits.query)} query pictures has a match in the gallery: "
    if not asked & there:
        return start + (
            f"query (pids {first(sorted(asked))}) and gallery (pids {first(sorted(there))}) "
            "share no identity. Give the same person the same number, or the same folder name, "
            "in both."
        )
    return start + (
        f"{len(asked & there)} of {len(asked)} query identities are in the gallery, but only under "
        "the camera of the query, and matches from the same camera are ignored. Set "
        "TEST.CAMERA_FILTER none, or give each picture its camera in its name (…_c1…, …_c2…)."
    )


def _few_people(people: int, num_instance: int, people_per_batch: int) -> list[str]:
    if people >= people_per_batch:
        return []
    each = num_instance or 1
    return [
        f"train has {people} people, and a batch would show {people_per_batch} "
        f"(SOLVER.IMS_PER_BATCH {people_per_batch * each} / DATALOADER.SAMPLER.NUM_INSTANCE "
        f"{each}), so batches have {people * each} pictures; lower SOLVER.BASE_LR if the loss "
        "jumps."
    ]


def _lonely(train: list[Sample], num_instance: int) -> list[str]:
    counts = Counter(sample.pid for sample in train)
    lonely = sorted(pid for pid, count in counts.items() if count == 1)
    if not lonely:
        return []
    again = f"; a batch repeats it {num_instance} times" if num_instance > 1 else ""
    return [
        f"{len(lonely)} of {len(counts)} people in train have a single picture, which has no "
        f"positive{again}: pids {first(lonely)}."
    ]


def _unanswerable(splits: Splits, valid: list[Sample]) -> list[str]:
    missing = len(splits.query) - len(valid)
    if not missing:
        return []
    return [
        f"{missing} of {len(splits.query)} queries have no match in the gallery; figures leave "
        "them out."
    ]


def _in_both(splits: Splits) -> list[str]:
    query, gallery = ({path for s in samples for path in s.paths} for samples in splits[1:])
    both = sorted(query & gallery)
    if not both:
        return []
    return [f"{len(both)} files are in query and in gallery: {first(both)}."]
