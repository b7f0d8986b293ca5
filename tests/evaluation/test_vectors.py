import math

import numpy as np
import pytest
import torch
from torch import nn

from reidtools.evaluation import Vectors, embed
from reidtools.evaluation.vectors import FLIPS, check_comparable


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))
        self.seen = []

    def forward(self, images):
        assert not self.training
        self.seen.append(images)
        return images, self.weight * images.flatten(1)


def batch(values):
    images = torch.tensor(values)
    count = len(images)
    return {
        "images": images if images.ndim > 1 else images[:, None],
        "pids": torch.arange(count),
        "camids": torch.zeros(count, dtype=torch.long),
        "paths": [f"{value}.jpg" for value in values],
    }


def ones(rows, dim=4, **kwargs):
    return Vectors(torch.ones(rows, dim, **kwargs), [1] * rows, [0] * rows)


def test_embed_joins_batches_and_leaves_the_model_in_its_mode():
    model = Twice().train()
    found = embed(model, (batch(values) for values in ([1.0, 2.0], [3.0])))
    assert found.vectors.tolist() == [[2.0], [4.0], [6.0]]
    assert found.pids.tolist() == [0, 1, 0]
    assert found.paths == ["1.0.jpg", "2.0.jpg", "3.0.jpg"]
    assert model.training and not found.vectors.requires_grad


def test_nothing_to_embed_is_an_error():
    with pytest.raises(ValueError, match="no pictures"):
        embed(Twice(), [])


@pytest.mark.parametrize(
    ("flip", "expected"),
    [
        ("off", [6.0, 8.0]),
        ("raw", [7.0, 7.0]),  # the mean of (6, 8) and, mirrored, (8, 6)
        ("normalized", [0.7, 0.7]),  # the mean of (0.6, 0.8) and (0.8, 0.6)
    ],
)
def test_a_mirrored_picture_on_paper(flip, expected):
    model = Twice()
    found = embed(model, [batch([[3.0, 4.0]])], flip=flip)
    torch.testing.assert_close(found.vectors, torch.tensor([expected]))
    assert found.paths == ["[3.0, 4.0].jpg"] and len(model.seen) == 1  # both views in one batch


@pytest.mark.parametrize("flip", sorted(FLIPS))
@pytest.mark.parametrize("shape", [(5, 3, 4, 2), (5, 6, 3, 4, 2)], ids=["pictures", "tracklets"])
def test_mirroring_turns_the_width_and_keeps_pictures_together(flip, shape):
    """A batch of five is the same as five batches of one; twice mirrored is not mirrored."""
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    together, mirrored = (
        embed(Twice(), [batch(x.tolist())], flip=flip).vectors for x in (images, images.flip(-1))
    )
    single = embed(Twice(), [batch(x[None].tolist()) for x in images], flip=flip).vectors
    torch.testing.assert_close(together, single)
    assert torch.allclose(together, mirrored) == (flip != "off")


def test_both_views_keep_the_memory_format():
    images = torch.rand(2, 3, 4, 6).to(memory_format=torch.channels_last)
    model = Twice()
    embed(model, [{**batch([[0.0], [0.0]]), "images": images}], flip="raw")
    assert model.seen[0].is_contiguous(memory_format=torch.channels_last)


def test_an_unknown_flip_is_refused_with_a_suggestion():
    with pytest.raises(LookupError, match="Did you mean 'normalized'"):
        embed(Twice(), [batch([1.0])], flip="normalised")


def test_vectors_check_themselves():
    ids = torch.zeros(2, dtype=torch.long)
    with pytest.raises(ValueError, match=r"equally many.*'vectors': 3"):
        Vectors(torch.zeros(3, 4), ids, ids)
    with pytest.raises(ValueError, match=r"1 of 2 vectors.*b\.jpg"):
        Vectors(torch.tensor([[1.0], [torch.nan]]), ids, ids, ["a.jpg", "b.jpg"])
    with pytest.raises(ValueError, match=r"these are \(2,\)\. Put one picture in each row"):
        Vectors(torch.zeros(2), ids, ids)
    with pytest.raises(ValueError, match="pids must be one whole number"):
        Vectors(torch.zeros(2, 4), ["0001", "0002"], ids)
    with pytest.raises(ValueError, match="camids must be one whole number"):
        Vectors(torch.zeros(2, 4), ids, [0.5, 1.0])
    with pytest.raises(ValueError, match="camids must be one whole number"):
        Vectors(torch.zeros(2, 4), ids, ids[:, None])


def test_values_that_are_no_numbers_or_overflow_are_found():
    """The square of a distance must be finite; at 1e19 it is not, and everything would be wrong."""
    values = torch.ones(9000, 2)
    values[0], values[7], values[8500, 1] = 1e17, torch.tensor([-math.inf, math.inf]), math.nan
    values[8501] = 1e19
    ids = [0] * len(values)
    with pytest.raises(ValueError, match=r"3 of 9000 .* too large.*: row 7, row 8500, row 8501\)"):
        Vectors(values, ids, ids)
    values[7:] = 0
    assert len(Vectors(values, ids, ids)) == 9000
    assert len(Vectors(values.double() * 1e19, ids, ids)) == 9000


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int32])
def test_coarse_numbers_become_float32(dtype):
    """The squares of half precision overflow at lengths of 256."""
    assert Vectors(torch.ones(2, 3, dtype=dtype), [0, 1], [0, 1]).vectors.dtype == torch.float32


def test_lists_and_arrays_become_tensors():
    made = Vectors([[1, 2], [3, 4]], np.array([5, 6], np.int32), [0, 1], np.array(["a", "b"]))
    assert made.vectors.dtype == torch.float32 and made.vectors.tolist() == [[1, 2], [3, 4]]
    assert made.pids.dtype == made.camids.dtype == torch.long and made.pids.tolist() == [5, 6]
    assert made.paths == ["a", "b"]
    assert Vectors(np.ones((2, 3)), [0, 1], [0, 1]).vectors.dtype == torch.float64
    assert len(Vectors(torch.ones(0, 3), [], [])) == 0
    assert Vectors(np.ones((2, 3))[::-1], [0, 1], [0, 1]).vectors.shape == (2, 3)
    values = torch.ones(2, 3)
    assert Vectors(values, [0, 1], [0, 1]).vectors is values  # no copy


def test_only_the_vectors_move():
    made = Vectors([[1.0, 2.0]], [5], [0], ["a"])
    moved = made.to(torch.float64)
    assert moved.vectors.dtype == torch.float64 and made.vectors.dtype == torch.float32
    assert moved.pids is made.pids and moved.paths == ["a"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu():
    made = Vectors(torch.ones(2, 3, device="cuda"), torch.tensor([1, 2]).cuda(), [0, 1])
    assert made.vectors.is_cuda and not made.pids.is_cuda
    assert not made.to("cpu").vectors.is_cuda
    check_comparable(made, made, "cosine")
    with pytest.raises(ValueError, match=r"on cuda:0.* on cpu; bring .* \.to\(device\)"):
        check_comparable(made, made.to("cpu"), "cosine")
    with pytest.raises(ValueError, match="values that are no numbers"):
        Vectors(made.vectors * torch.nan, [1, 2], [0, 1])


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_what_cannot_be_compared_is_refused(metric):
    check_comparable(ones(2), ones(3), metric)
    for query, gallery in ((ones(0), ones(3)), (ones(2), ones(0))):
        with pytest.raises(ValueError, match="nothing to rank"):
            check_comparable(query, gallery, metric)
    with pytest.raises(ValueError, match=r"have 4 dimensions.* 512; .*the same model"):
        check_comparable(ones(2), ones(3, 512), metric)
    with pytest.raises(ValueError, match=r"float32 on cpu.*float64 on cpu; bring .* \.to\(dtype\)"):
        check_comparable(ones(2), ones(3, dtype=torch.float64), metric)


def test_a_vector_without_a_direction_is_named():
    values = torch.ones(9, 4)
    values[2:] = torch.tensor([1e-13, 0, 0, 0])
    gallery = Vectors(values, [1] * 9, [0] * 9, [f"{i}.jpg" for i in range(9)])
    for metric in ("cosine", "arccos"):
        with pytest.raises(ValueError, match=r"7 of 9 gallery .*2\.jpg.* 6\.jpg\); .*euclidean"):
            check_comparable(ones(2), gallery, metric)
    with pytest.raises(ValueError, match=r"1 of 1 query .*row 0"):
        check_comparable(Vectors(torch.zeros(1, 4), [1], [0]), gallery, "cosine")
    check_comparable(ones(2), gallery, "euclidean")


class ByCamera(nn.Module):
    """An embedding is the picture plus ten times its camera; that of a tracklet the mean."""

    by_camera = True

    def forward(self, images, camids):
        return self.pool(self.frames(images, camids), len(images))

    def frames(self, images, camids):
        return images.flatten(1) + 10.0 * camids[:, None]

    def pool(self, features, tracklets=1):
        return features, features.unflatten(0, (tracklets, -1)).mean(1)


def seen_by(camids, values):
    return batch(values) | {"camids": torch.tensor(camids)}


def test_a_model_that_wants_cameras_is_told_them():
    found = embed(ByCamera(), [seen_by([3, 0], [1.0, 2.0]), seen_by([-1], [5.0])])
    assert found.vectors.tolist() == [[31.0], [2.0], [-5.0]]
    assert found.camids.tolist() == [3, 0, -1]


def test_both_views_are_of_the_same_camera():
    """Views (3, 4) and (4, 3) of camera 1, (0, 2) and (2, 0) of camera 2."""
    found = embed(ByCamera(), [seen_by([1, 2], [[3.0, 4.0], [0.0, 2.0]])], flip="raw")
    assert found.vectors.tolist() == [[13.5, 13.5], [21.0, 21.0]]
    assert found.camids.tolist() == [1, 2]


@pytest.mark.parametrize("flip", ["off", "raw"])
def test_frames_of_tracklets_bring_their_cameras(flip):
    """Frames 0, 1 and 2 of camera 0, frame 3 of camera 1; a pixel is its own mirror image."""
    found = embed(ByCamera(), frame_batches([3, 1], 2), flip=flip)
    assert found.vectors.tolist() == [[1.0], [13.0]]


class Frames(nn.Module):
    """Features of a picture are its first pixel x and x + 1, those of a tracklet their maximum."""

    def forward(self, images):
        return self.pool(self.frames(images.flatten(0, -4)), len(images))

    def frames(self, images):
        x = images.flatten(1)[:, :1]
        return torch.cat([x, x + 1], 1)

    def pool(self, features, tracklets=1):
        pooled = features.view(tracklets, -1, 2).amax(1)
        return pooled, pooled + 10


def frame_batches(lengths, size, unreadable=()):
    """Tracklets of the numbers 0, 1, 2 …, as batches of `size` frames."""
    total = sum(lengths)
    ends = torch.zeros(total, dtype=torch.bool)
    ends[torch.tensor(lengths).cumsum(0) - 1] = True
    owners = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    for begin in range(0, total, size):
        rows = range(begin, min(total, begin + size))
        made = {
            "images": torch.tensor([float(i) for i in rows]).view(-1, 1, 1, 1),
            "pids": owners[list(rows)] + 50,
            "camids": owners[list(rows)] % 2,
            "paths": [f"{i}.jpg" for i in rows],
            "ends": ends[list(rows)],
        }
        if unreadable:
            made["readable"] = torch.tensor([i not in unreadable for i in rows])
        yield made


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_tracklets_of_any_length_in_batches_of_any_size(size):
    found = embed(Frames(), frame_batches([3, 1, 1, 6], size))
    assert found.vectors.tolist() == [[12, 13], [13, 14], [14, 15], [20, 21]]
    assert found.pids.tolist() == [50, 51, 52, 53] and found.camids.tolist() == [0, 1, 0, 1]
    assert found.paths == ["0.jpg", "3.jpg", "4.jpg", "5.jpg"]  # called by their first frames


@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_mirrored_tracklet_is_pooled_by_itself(size):
    """Frame i is the pixels (i, -i): mirrored, the first of them is -i."""

    def batches():
        for made in frame_batches([3, 2], size):
            yield made | {"images": torch.cat([made["images"], -made["images"]], -1)}

    plain, mirrored = torch.tensor([[12, 13], [14, 15]]), torch.tensor([[10, 11], [7, 8]])
    raw = embed(Frames(), batches(), flip="raw").vectors
    assert torch.equal(raw, (plain + mirrored) / 2)
    unit = [nn.functional.normalize(view.float()) for view in (plain, mirrored)]
    found = embed(Frames(), batches(), flip="normalized").vectors
    assert torch.allclose(found, (unit[0] + unit[1]) / 2)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_frames_that_cannot_be_read_do_not_count(size):
    found = embed(Frames(), frame_batches([3, 1, 2], size, unreadable={2, 3}))
    assert found.vectors.tolist() == [[11, 12], [15, 16]]
    assert found.paths == ["0.jpg", "4.jpg"] and found.pids.tolist() == [50, 52]
    with pytest.raises(ValueError, match="no pictures"):
        embed(Frames(), frame_batches([2], size, unreadable={0, 1}))


def test_pictures_that_cannot_be_read_are_left_out():
    made = batch([1.0, 2.0, 3.0]) | {"readable": torch.tensor([True, False, True])}
    found = embed(Twice(), [made])
    assert found.vectors.tolist() == [[2.0], [6.0]] and found.paths == ["1.0.jpg", "3.0.jpg"]
