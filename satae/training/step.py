"""Takes one step of training: forward, loss, backward, optimiser; on CUDA as a graph that is captured once.

A captured step is the same arithmetic in one launch in place of some hundred, which is what training on small images
waits for. Losses and norms stay on the device, so that nothing here waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from satae import models, objectives
from satae.objectives import Objective

WARM = 3  # steps by hand before a graph is captured: libraries choose their algorithms, the optimiser makes its state

Forward = Callable[[Tensor, Tensor], models.Output]


@dataclass
class Step:
    """Takes steps of a model by its loss; `half` is the type of autocast, None for none.

    `slopes`: the norm of the gradient of each layer over that of its weights, at the last step that was looked at.
    """

    model: nn.Module
    forward: Forward
    loss_of: Objective
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    half: torch.dtype | None
    clip: float
    slopes: dict[str, float] = field(default_factory=dict)

    def __call__(self, batch: objectives.Batch, seen: Tensor, *, look: bool = False) -> tuple[Tensor, Tensor]:
        """(the loss, the norm of the gradient before it is clipped), scalars on the device.

        `seen` is what the model is given beside its input. `look`: keep `slopes` of this step.
        """
        self.optimizer.zero_grad(set_to_none=True)
        # what enters the model: a corrupted copy where the recipe has one
        x = batch.x if batch.entered is None else batch.entered
        with torch.autocast(
            x.device.type, dtype=self.half, enabled=self.half is not None, cache_enabled=False
        ):
            out = self.forward(x, seen)
            loss = self.loss_of(out, *batch)
        self.scaler.scale(loss).backward()
        # before clipping, which knows gradients in their own unit
        self.scaler.unscale_(self.optimizer)
        if look:
            self.slopes = slopes(self.model)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        # after the model's own step, on the output that the model was judged by
        for rival in self.loss_of.rivals.values():
            rival.learn(out, batch)
        return loss.detach(), norm


class CapturedStep:
    """A step on CUDA whose batches all have one shape: by hand at first, then as a graph.

    The loss must not change with the progress of the training once that is past `loss_of.warm`, from where on
    steps are captured. Its results are overwritten by the next step.
    """

    def __init__(self, step: Step) -> None:
        self.step, self.count = step, 0
        self.stream = torch.cuda.Stream()
        self.graph: torch.cuda.CUDAGraph | None = None

    @property
    def slopes(self) -> dict[str, float]:
        """Those of the step that was looked at last; see `Step`."""
        return self.step.slopes

    @staticmethod
    def possible(loss_of: Objective, half: torch.dtype | None, device: torch.device) -> bool:
        """Whether nothing in a step waits for the device, as fp16 does to skip steps, or is drawn on the host."""
        # a rival's step, and a loss that changes with progress, are no part of a captured graph
        steady = not loss_of.rivals and loss_of.warm < 1
        return device.type == "cuda" and half is not torch.float16 and steady

    def __call__(self, batch: objectives.Batch, seen: Tensor, *, look: bool = False) -> tuple[Tensor, Tensor]:
        """As that of `Step`, which takes it where it is looked at."""
        self.count += 1
        begins = self.graph is None and (self.count <= WARM or batch.progress <= self.step.loss_of.warm)
        if look or begins:
            # on the stream on which the graph is captured: warm-up there settles what libraries allocate
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                found = self.step(batch, seen, look=look)
            torch.cuda.current_stream().wait_stream(self.stream)
            return found
        # from here on every step is the same launches on the same memory
        if self.graph is None:
            self._capture(batch, seen)
        # the graph reads from fixed places: the batch is copied there
        for held, given in zip(self.held, _tensors(batch, seen), strict=True):
            held.copy_(given)
        assert self.graph is not None
        self.graph.replay()
        # clones, for the next replay overwrites both
        return self.found[0].clone(), self.found[1].clone()

    def _capture(self, batch: objectives.Batch, seen: Tensor) -> None:
        self.held = [t.clone() for t in _tensors(batch, seen)]
        # in the order of `_tensors`
        x, valid, shown, *entered = self.held
        told = batch._replace(x=x, valid=valid)
        if entered:
            needed = batch.entered is not None and batch.entered.requires_grad
            told = told._replace(entered=entered[0].detach().requires_grad_(needed))
            self.held[3] = told.entered.detach()  # type: ignore[union-attr]
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=self.stream):
            self.found = self.step(told, shown)


def _tensors(batch: objectives.Batch, seen: Tensor) -> list[Tensor]:
    """What changes from batch to batch."""
    return [batch.x, batch.valid, seen, *([] if batch.entered is None else [batch.entered.detach()])]


def slopes(model: nn.Module) -> dict[str, float]:
    """The norm of the gradient of each layer, over that of its weights."""
    weights = {name: p for name, p in model.named_parameters() if p.grad is not None and p.dim() > 1}
    if not weights:
        return {}
    # biases, of one axis, are left out above: they begin at 0, and a gradient over that says nothing
    sizes = [(p.grad.norm() / p.detach().norm().clamp(min=1e-12)) for p in weights.values()]  # type: ignore[union-attr]
    return dict(zip((n.removesuffix(".weight") for n in weights), torch.stack(sizes).tolist(), strict=True))
