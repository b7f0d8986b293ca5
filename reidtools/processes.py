"""Several processes that do one job: who am I, and what do the others have?

They are started by ``torchrun`` or ``--num-gpus``, and know each other within `joined`. Outside of
it, and in a process by itself, every function here does at once what it says, so that callers need
not ask. A function that talks to the others must be called by all of them, in the same order.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from reidtools.extras import reason

T = TypeVar("T")
# Not `dist.is_initialized`: a program of its own may embed something else in each process.
_JOINED = ContextVar("joined", default=False)
# What is said where a process is no longer there.
LOST = ("closed by peer", "reset by peer", "Broken pipe", "Timed out", "timed out")


class ProcessLost(ConnectionError):
    """Another process of the run has ended, and took its part of the work with it."""


def launched() -> int:
    """How many processes were started together, whether they are `joined` or not."""
    # Some clusters set WORLD_SIZE where nothing was started; LOCAL_RANK comes from launchers.
    return int(os.environ.get("WORLD_SIZE", 1)) if "LOCAL_RANK" in os.environ else 1


def rank() -> int:
    """Which of the joined processes this is, from 0."""
    return dist.get_rank() if _JOINED.get() else 0


def count() -> int:
    """How many processes are joined."""
    return dist.get_world_size() if _JOINED.get() else 1


def first() -> bool:
    """Whether this is the one of all processes that writes files and logs."""
    return (rank() if _JOINED.get() else int(os.environ.get("RANK", 0))) == 0


def on_machine() -> int:
    """Which of the processes of this machine this is, from 0: the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", 0))


def launch(count: int, machines: int = 1, machine: int = 0, url: str = "") -> int:
    """Run this program in `count` processes on this machine, by torchrun; the exit code.

    With several `machines` this is the one numbered `machine`, and all meet at `url`.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main

    where = ["--standalone"]
    if machines > 1:
        address, port = url.removeprefix("tcp://").rsplit(":", 1)
        where = [f"--nnodes={machines}", f"--node-rank={machine}"]
        where += [f"--master-addr={address}", f"--master-port={port}"]
    # Each would take all cores, or, as torchrun has it, one.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // max(count, 1))))
    try:
        main([*where, f"--nproc-per-node={max(count, 1)}", *sys.argv])
    except ChildFailedError as error:  # it has told why
        code = error.get_first_failure()[1].exitcode
        return code if code > 0 else 128 - code
    except SignalException as error:
        return 128 + error.sigval
    return 0


@contextmanager
def joined() -> Iterator[None]:
    """Meet the other processes for the time of the block; within another one nothing happens.

    A process that is gone is a `ProcessLost`. Tensors travel by gloo from CPUs, by NCCL from GPUs.
    """
    if _JOINED.get() or launched() == 1:
        yield
        return
    own = not dist.is_initialized()
    if own:
        nccl = torch.cuda.is_available() and dist.is_nccl_available()
        dist.init_process_group("cpu:gloo,cuda:nccl" if nccl else "gloo")
    before = _JOINED.set(True)
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or any(word in str(error) for word in LOST):
            raise ProcessLost(
                f"Another process of this run cannot be reached ({reason(error)}), and this one "
                "cannot go on alone; see what that one says, and go on with --resume."
            ) from error
        raise
    finally:
        _JOINED.reset(before)
    # Not after an error: the others would hear of this end before the error has been told, and
    # NCCL may wait here for somebody who is in the middle of something.
    if own:
        dist.destroy_process_group()


def from_first(make: Callable[[], T]) -> T:
    """What `make` gives in the first process, for all of them; so is what it raises.

    It must be picklable.
    """
    if count() == 1:
        return make()
    found: list[Any] = [None, None]
    if first():
        try:
            found[0] = make()
        except Exception as error:  # the others wait for an answer, whatever it is
            found[1] = error
    dist.broadcast_object_list(found, 0)
    if found[1] is not None:
        raise found[1]
    return found[0]


def of_all(value: T) -> list[T]:
    """The `value` of each process, in their order; it must be picklable."""
    if count() == 1:
        return [value]
    found: list[Any] = [None] * count()
    dist.all_gather_object(found, value)
    return found


@contextmanager
def first_before_others() -> Iterator[None]:
    """Let the first process go through the block before the others: it may make what they read."""
    if not first():
        of_all(None)
    yield
    if first():
        of_all(None)


@contextmanager
def same_chance(device: torch.device) -> Iterator[None]:
    """In the block all processes draw the same numbers on `device`; afterwards each its own."""
    if count() == 1:
        yield
        return
    seed = torch.randint(2**62, (1,))
    dist.broadcast(seed, 0)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(int(seed))
        yield


def shares(length: int) -> list[slice]:
    """Which of `length` things in a row belong to each of the processes."""
    ends = [length * place // count() for place in range(count() + 1)]
    return [slice(begin, end) for begin, end in pairwise(ends)]


def share(length: int) -> slice:
    """Which of `length` things in a row belong to this process."""
    return shares(length)[rank()]


@torch.no_grad()
def mean(tensors: Sequence[Tensor]) -> None:
    """Replace each of the `tensors`, of floats, by its mean over the processes."""
    if count() == 1 or not tensors:
        return
    # In double precision the mean of what is equal everywhere is that, to the last bit.
    row = torch.cat([tensor.flatten().double() for tensor in tensors])
    dist.all_reduce(row)
    row /= count()
    parts = row.split([tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view_as(tensor))


def rows_of_all(rows: Tensor, parts: Sequence[int]) -> Tensor:
    """The `rows` (parts[rank], ...) of all processes, one under the other, (sum(parts), ...).

    Gradients go back to the rows of this process, as those of the mean over processes: this is for
    a loss that all of them compute alike, of which `DistributedDataParallel` takes the mean.
    """
    return rows if len(parts) == 1 else _Rows.apply(rows, tuple(parts))


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, parts: tuple[int, ...]) -> Tensor:
        most, begin = max(parts), sum(parts[: rank()])
        ctx.own, ctx.many = slice(begin, begin + len(rows)), len(parts)
        rows = rows.contiguous()
        padded = rows
        if len(rows) < most:  # all send equally much
            padded = torch.cat([rows, rows.new_zeros(most - len(rows), *rows.shape[1:])])
        found = rows.new_empty(most * len(parts), *rows.shape[1:])
        dist.all_gather_into_tensor(found, padded)
        if min(parts) == most:
            return found
        return torch.cat([own[:n] for own, n in zip(found.split(most), parts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0][ctx.own] * ctx.many, None


class Flag:
    """Whether any process wants something; asked once a step, answered a step later.

    The answer is on its way while the step is computed, so that nobody waits for it.
    """

    def __init__(self) -> None:
        self._sent: tuple[Tensor, Any] | None = None

    def any(self, own: bool) -> bool:
        """Whether any process said yes the last time; in a process by itself what it says now."""
        if count() == 1:
            return own
        answer = False
        if self._sent:
            tensor, work = self._sent
            work.wait()
            answer = bool(tensor.item())
        tensor = torch.tensor([int(own)])
        self._sent = tensor, dist.all_reduce(tensor, dist.ReduceOp.MAX, async_op=True)
        return answer
