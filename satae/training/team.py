"""Processes that train one model together, each on a device of its own (DistributedDataParallel, Li et al. 2020).

Every process knows the whole batch and runs its share of it through the model. Outputs are put together again, so that
each has the loss of the whole batch, whatever that is made of: quantiles, penalties, tiles with few valid pixels.
Gradients are summed. What comes out is what one process makes of the same batches, but for rounding.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from satae.config import Recipe
from satae.errors import ConfigError, DeviceError, TrainError
from satae.models import BlindSpot, Output, Traits
from satae.objectives import Objective

CPU = torch.device("cpu")
LEAST = 100_000  # weights; with fewer, processes wait for each other longer than they compute
LOST = (
    "another process of this training has ended; it says why, or was killed, as where memory is used up; go on with "
    "--resume"
)


@dataclass(frozen=True)
class Team:
    """This process among those that train together, and its device: the one of rank 0 writes and speaks."""

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def message(self, words: str = "") -> str:
        """What the process of rank 0 says here, in all of them."""
        said = [words]
        if self.size > 1:
            dist.broadcast_object_list(said, src=0)
        return said[0]

    def sums(self, *values: float) -> list[float]:
        """Numbers added up over all processes, the same bits in each."""
        if self.size == 1:
            return list(values)
        # NCCL knows tensors of its device alone
        every = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(every)
        return [float(v) for v in every.cpu()]

    def copy_from_rank(self, mine: Tensor, count: int, rank: int) -> Tensor:
        """A tensor (count, ...) of one process, in all; `mine` is of the same type and shape but for `count`."""
        sent = mine.contiguous() if rank == self.rank else mine.new_empty((count, *mine.shape[1:]))
        dist.broadcast(sent, src=rank)
        return sent

    def part(self, count: int) -> slice:
        """The samples of a batch that are this process's; none where the batch is smaller than the team."""
        starts = [count * r // self.size for r in (self.rank, self.rank + 1)]
        return slice(*starts)

    def whole(self, mine: Tensor, count: int) -> Tensor:
        """Parts (n, ...) as `part` cuts them put together, (count, ...); the gradient goes through this process's."""
        most = -(-count // self.size)
        # backends want one size of all: padded here, cut below
        sent = mine.new_zeros((most, *mine.shape[1:]))
        sent[: len(mine)] = mine.detach()
        found = [torch.empty_like(sent) for _ in range(self.size)]
        dist.all_gather(found, sent)
        sizes = [Team(r, self.size).part(count) for r in range(self.size)]
        parts = [piece[: s.stop - s.start] for piece, s in zip(found, sizes, strict=True)]
        parts[self.rank] = mine
        return torch.cat(parts)

    def part_ways(self) -> None:
        """End what is between the processes, when none waits for another any more."""
        # never where something failed: NCCL would wait here for who does not come
        if self.size > 1:
            dist.destroy_process_group()


ALONE = Team()


class JointForward:
    """Output of a whole batch, of which this process computes its part; in evaluation that of what it is given.

    The loss of the whole is the same in each process. Its gradients by the part are summed, which is the gradient of
    one process (batch norms included: their moments are those of the whole batch).
    """

    def __init__(self, model: nn.Module, team: Team) -> None:
        self.model, self.team, self.idle = model, team, False
        here = None if team.device.type == "cpu" else [torch.cuda.current_device()]
        # weights and buffers begin as those of rank 0; afterwards all processes move them alike
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)
        self.shared = DistributedDataParallel(
            model, device_ids=here, broadcast_buffers=False, gradient_as_bucket_view=True
        )
        self.shared.register_comm_hook(None, lambda state, bucket: _add_up(bucket))

    def __call__(self, x: Tensor, seen: Tensor) -> Output:
        if not self.model.training:
            out: Output = self.model(x, seen)
            return out
        part = self.team.part(len(x))
        # a process without a share goes along with a sample that counts for nothing: sums wait for all
        self.idle = part.start == part.stop
        taken = slice(0, 1) if self.idle else part
        found = self.shared(x[taken], seen[taken])
        mine = [None if t is None else t[:0] if self.idle else t for t in found]
        return Output(*(None if t is None else self.team.whole(t, len(x)) for t in mine))  # type: ignore[arg-type]

    def norm(self, layer: nn.BatchNorm2d, x: Tensor) -> Tensor:
        """Batch norm of a part (n, C, H, W) by the moments of the whole batch (Ioffe and Szegedy 2015)."""
        if not layer.training:
            plain: Tensor = nn.BatchNorm2d.forward(layer, x)
            return plain
        # in float32 where layers compute in less, as torch has it
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        out, mean, variance, count = _Norm.apply(wide, layer.weight, layer.bias, layer.eps, self)  # type: ignore[no-untyped-call]
        _remember(layer, mean, variance * count / (count - 1))
        found: Tensor = out.to(x.dtype)
        return found


@torch.no_grad()
def _remember(layer: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Move the running moments, by which a layer evaluates, as torch does."""
    for running, new in ((layer.running_mean, mean), (layer.running_var, variance)):
        if running is not None:
            running.lerp_(new, 0.1 if layer.momentum is None else layer.momentum)
    if layer.num_batches_tracked is not None:
        layer.num_batches_tracked.add_(1)


class _Norm(torch.autograd.Function):
    """(normalised part, mean, variance and number of the whole), of which the first alone has a gradient."""

    @staticmethod
    def forward(
        context: Any, x: Tensor, gain: Tensor, offset: Tensor, eps: float, joint: JointForward
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # (C,) each: squares about the mean of the part and not sums of squares, whose difference would be rounded away
        variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
        number = mean.new_full((1,), 0.0 if joint.idle else x.numel() / x.shape[1])
        mine = torch.cat([mean, variance, number])
        every = [torch.empty_like(mine) for _ in range(joint.team.size)]
        dist.all_gather(every, mine)
        means, variances, numbers = torch.stack(every).split([len(mean), len(mean), 1], dim=1)
        count = numbers.sum()
        mean = (means * numbers).sum(dim=0) / count
        # the variance of parts and that of their means (Chan et al. 1979)
        variance = ((variances + (means - mean) ** 2) * numbers).sum(dim=0) / count
        context.save_for_backward(x, gain, mean, torch.rsqrt(variance + eps), count)
        context.joint = joint
        out = F.batch_norm(x, mean, variance, gain, offset, training=False, eps=eps)
        context.mark_non_differentiable(mean, variance, count)
        return out, mean, variance, count

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, gain, mean, scale, count = context.saved_tensors
        passed = gradients[0]
        # (C,): sums over the part of the gradient, and of it times the normalised x
        offset = passed.sum(dim=(0, 2, 3))
        along = ((passed * x).sum(dim=(0, 2, 3)) - offset * mean) * scale
        sums = torch.cat([offset, along])
        # every part has moved the moments of all, but for the sample of an idle process
        dist.all_reduce(sums)
        if context.joint.idle:
            return torch.zeros_like(x), along, offset, None, None
        first, second = (sums / count).chunk(2)
        # gain * scale * (passed - first - (x - mean) * scale * second), as multiples of two images
        by_x = -second * scale * scale * gain
        constant = -first * scale * gain - by_x * mean
        shape = (1, -1, 1, 1)
        toward = torch.addcmul(constant.view(shape), x, by_x.view(shape))
        return toward.addcmul_(passed, (scale * gain).view(shape)), along, offset, None, None


def _add_up(bucket: Any) -> torch.futures.Future[Tensor]:
    """Sum the gradients of all processes; without this hook they would be averaged."""
    waiting = dist.all_reduce(bucket.buffer(), async_op=True).get_future()
    return waiting.then(lambda done: done.value()[0])  # type: ignore[no-any-return]


@contextmanager
def joint(model: nn.Module, team: Team) -> Iterator[JointForward]:
    """The forward pass of a team; the model is afterwards what it was, with the weights that it learned."""
    forward = JointForward(model, team)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for layer in norms:
        # of this object alone, in place of the method of its class: names and weights stay as in a checkpoint
        layer.forward = partial(forward.norm, layer)  # type: ignore[method-assign]
    try:
        yield forward
    finally:
        for layer in norms:
            del layer.forward


def check_shareable(model: nn.Module, recipe: Recipe, channels: int, team: Team) -> None:
    """ConfigError where a model is not to be trained by several processes, with the reason."""
    if team.size == 1:
        return
    loss_of = Objective(recipe.objective, Traits.of(model).code_size)
    weights = sum(p.numel() for p in model.parameters() if p.requires_grad)
    rivals = ", ".join(loss_of.rivals)
    if not weights:
        reason = "has nothing to learn by gradients"
    elif isinstance(model, BlindSpot):
        reason = "learns from single pixels, which one process does in minutes"
    elif weights < LEAST:
        reason = f"has {weights:,} weights; under {LEAST:,}, processes would wait for each other longer than compute"
    elif loss_of.differentiates or rivals:
        reason = f"is trained with {rivals or 'a loss that needs derivatives of the input'}, which cannot be shared out"
    elif _draws(model, channels):
        reason = "draws random numbers while it learns (dropout, a variational code), which would be others"
    else:
        return
    raise ConfigError(f"{recipe.model.name} {reason}; start satae train without torchrun")


@torch.no_grad()
def _draws(model: nn.Module, channels: int) -> bool:
    """Whether a forward pass in training takes random numbers: shares of a batch would not get those of the whole."""
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    before, side = torch.get_rng_state(), max(16, Traits.of(model).frame)
    was = model.training
    model.train()(torch.zeros(2, channels, side, side), torch.ones(2, 1, side, side))
    drew = not torch.equal(before, torch.get_rng_state())
    # running moments have moved, and what is drawn later must not depend on having looked
    model.train(was).load_state_dict(kept)
    torch.set_rng_state(before)
    return drew


@contextmanager
def muster(device: torch.device, environment: Mapping[str, str] = os.environ) -> Iterator[Team]:
    """The team that torchrun started this process for, on the GPU of its number where the device is CUDA.

    DeviceError where more processes were started here than there are GPUs.
    """
    team = Team(int(environment["RANK"]), int(environment["WORLD_SIZE"]), device)
    local, cuda = int(environment.get("LOCAL_RANK", team.rank)), device.type == "cuda"
    here, gpus = int(environment.get("LOCAL_WORLD_SIZE", team.size)), torch.cuda.device_count()
    if cuda and here > gpus:
        raise DeviceError(
            f"torchrun started {here} processes here and torch sees {gpus} GPUs; pass --nproc-per-node {gpus}, or "
            "--device cpu"
        )
    if cuda:
        # before anything is put there: all would take GPU 0 otherwise
        torch.cuda.set_device(local)
    with _explained():
        dist.init_process_group("nccl" if cuda else "gloo")
        yield team


@contextmanager
def _explained() -> Iterator[None]:
    """TrainError where another process went away."""
    try:
        yield
    except RuntimeError as error:
        words = str(error)
        ours = isinstance(error, dist.DistError)
        if ours or any(
            sign in words for sign in ("gloo", "NCCL", "Connection closed by peer", "Connection reset")
        ):
            raise TrainError(LOST) from error
        raise
