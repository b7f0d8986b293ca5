"""Vectors are taken from a GPU when it has the next batch to work on, from a CPU at once."""

from types import SimpleNamespace

import pytest

from reidtools.evaluation.vectors import _one_behind


def queued(count, log, *, is_cuda, error=None):
    """Batches that a model is given, one after the other."""
    for number in range(count):
        log.append(f"given {number}")
        yield number, SimpleNamespace(is_cuda=is_cuda)
    if error:
        raise error


def taken(log, *given, **more):
    for number, _ in _one_behind(queued(*given, log, **more)):
        log.append(f"taken {number}")
    return log


def test_a_cpu_has_done_what_it_was_given():
    assert taken([], 2, is_cuda=False) == ["given 0", "taken 0", "given 1", "taken 1"]


def test_a_gpu_is_given_the_next_batch_first():
    log = taken([], 3, is_cuda=True)
    assert log == ["given 0", "given 1", "taken 0", "given 2", "taken 1", "taken 2"]


@pytest.mark.parametrize("is_cuda", [False, True])
def test_what_came_before_an_error_comes_before_it(is_cuda):
    log = []
    with pytest.raises(OSError, match="torn"):
        taken(log, 2, is_cuda=is_cuda, error=OSError("torn"))
    assert log[-1] == "taken 1"


def test_nothing_is_nothing():
    assert taken([], 0, is_cuda=True) == []
