"""A teacher sees what its student sees, as it was itself trained to see it, and takes no part."""

import pytest
import torch
from torch import nn

from reidtools.data.transforms import Normalize
from reidtools.engine.objective import Objective
from reidtools.engine.teacher import Teacher, between
from reidtools.losses import DistillationLoss
from reidtools.modeling import Embedder
from reidtools.modeling.heads.bnneck import BNNeck


class Flat(nn.Module):
    """A linear map of all pixels; remembers what it was shown."""

    pooled = True

    def __init__(self, dim=5, pixels=3 * 4 * 2, by_camera=False):
        super().__init__()
        self.dim, self.by_camera, self.seen = dim, by_camera, []
        self.linear, self.dropout = nn.Linear(pixels, dim), nn.Dropout(0.5)

    def forward(self, images, camids=None):
        self.seen.append((images, camids))
        return self.dropout(self.linear(images.flatten(1)))


def network(seed=0, **options):
    torch.manual_seed(seed)
    backbone = Flat(**options)
    return Embedder(backbone, BNNeck(backbone.dim, True))


def images(count=6, size=(4, 2), frames=()):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, *frames, 3, *size, generator=generator)


def test_its_vectors_are_those_that_retrieval_would_take():
    teacher, x = Teacher(network().train(), (4, 2)), images()
    found = teacher(x)
    assert found.keys() == {"embeddings"} and teacher.people == 0 and teacher.dim == 5
    assert torch.equal(found["embeddings"], network().eval()(x)[1])
    assert not found["embeddings"].requires_grad
    assert not any(w.requires_grad for w in teacher.network.parameters())


def test_it_sees_pixels_normalised_its_own_way():
    pixels = torch.randint(256, (3, 3, 4, 2), dtype=torch.uint8)
    ours = Normalize()
    theirs = Normalize(pixel_mean=(0.5, 0.4, 0.3), pixel_std=(0.5, 0.25, 0.2))
    teacher = Teacher(network(), (4, 2), between(ours, theirs))
    teacher(ours(pixels))
    ((seen, _),) = teacher.network.backbone.seen
    torch.testing.assert_close(seen, theirs(pixels))
    assert between(ours, Normalize()) is None


def test_it_sees_pictures_of_its_own_size():
    """A grey picture is as grey at another size; tracklets keep their frames apart."""
    teacher = Teacher(network(), (4, 2))
    frames = torch.arange(6.0).view(2, 3, 1, 1, 1).expand(2, 3, 3, 8, 6)
    assert teacher(frames)["embeddings"].shape == (2, 5)
    ((seen, _),) = teacher.network.backbone.seen
    torch.testing.assert_close(seen, torch.arange(6.0).view(6, 1, 1, 1).expand(6, 3, 4, 2))


def test_part_by_part_is_the_same():
    whole, parts = Teacher(network(), (4, 2)), Teacher(network(), (4, 2), at_a_time=4)
    x = images()
    torch.testing.assert_close(parts(x)["embeddings"], whole(x)["embeddings"])
    assert [len(seen) for seen, _ in parts.network.backbone.seen] == [4, 2]


@pytest.mark.parametrize("by_camera", [True, False])
def test_it_is_told_of_cameras_only_if_they_are_its_own(by_camera):
    teacher = Teacher(network(by_camera=True), (4, 2), by_camera=by_camera, at_a_time=4)
    teacher(images(), torch.arange(6))
    told = [
        camids if camids is None else camids.tolist() for _, camids in teacher.network.backbone.seen
    ]
    assert told == ([[0, 1, 2, 3], [4, 5]] if by_camera else [None, None])


def test_its_classifier_sees_the_neck():
    classifier = nn.Linear(5, 9)
    teacher, x = Teacher(network(), (4, 2), None, classifier, 9), images()
    expected = classifier(network().eval()(x)[1])
    assert teacher.people == 9
    torch.testing.assert_close(teacher(x)["logits"], expected.detach())


def distilled(micro_batch=0):
    torch.manual_seed(3)
    teacher = Teacher(network(seed=1), (4, 2))
    losses = {"DistillationLoss": DistillationLoss(7, teacher, kind="features")}
    objective = Objective(losses, {"DistillationLoss": 2.0}, 1, micro_batch, teacher)
    return objective, network(seed=2, dim=7)


@pytest.mark.parametrize("micro_batch", [0, 2])
def test_a_student_never_holds_its_teacher(micro_batch):
    objective, student = distilled(micro_batch)
    assert list(objective.state_dict()) == ["losses.DistillationLoss.map.weight"]
    assert sum(w.numel() for w in objective.parameters()) == 7 * 5
    before = {n: t.clone() for n, t in objective.teacher.network.state_dict().items()}
    losses = objective(student, {"images": images(), "pids": torch.arange(6)})
    losses["DistillationLoss"].backward()
    assert student.backbone.linear.weight.grad.abs().sum() > 0
    after = objective.train().teacher.network
    assert not after.training  # modes of the objective are not its own
    assert all(torch.equal(t, before[n]) for n, t in after.state_dict().items())
    assert all(w.grad is None for w in after.parameters())


def test_the_loss_is_what_the_two_say_times_its_weight():
    objective, student = distilled()
    student.eval()
    x = images()
    (value,) = objective(student, {"images": x, "pids": torch.arange(6)}).values()
    own = objective.losses["DistillationLoss"].map(student(x)[1])
    cosines = torch.cosine_similarity(own, objective.teacher(x)["embeddings"])
    assert value.item() == pytest.approx(2 * (1 - cosines.mean().item()))


def test_it_computes_in_the_precision_around_it_and_answers_in_float32():
    teacher, x = Teacher(network(), (4, 2)), images()
    with torch.autocast("cpu", torch.bfloat16):
        coarse = teacher(x)["embeddings"]
    exact = teacher(x)["embeddings"]
    assert coarse.dtype == exact.dtype == torch.float32 and not torch.equal(coarse, exact)
    torch.testing.assert_close(coarse, exact, rtol=0.05, atol=0.05)


def test_a_loss_without_its_teacher_is_refused():
    loss = DistillationLoss(5, Teacher(network(), (4, 2)))
    with pytest.raises(ValueError, match=r"DistillationLoss learns from .*MODEL\.TEACHER"):
        Objective({"DistillationLoss": loss}, {"DistillationLoss": 1.0})
