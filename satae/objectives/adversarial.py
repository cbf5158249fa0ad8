"""Penalty: the code must deceive a discriminator that tells it from draws of a prior (Makhzani et al. 2015).

The discriminator looks at one cell of the code at a time. It takes a step of its own after each step of the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from satae.models import Output
from satae.objectives import Batch, Term, code_of, shares

NEEDS = ("code",)


@dataclass(frozen=True)
class Params:
    """The settings of adversarial.

    `prior`: gaussian (mean 0, deviation 1) or uniform (from -1 to 1). `hidden`: width of the discriminator.
    `learning_rate`: its own.
    """

    prior: Literal["gaussian", "uniform"] = "gaussian"
    hidden: int = 64
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        if not 1 <= self.hidden <= 4096:
            raise ValueError(f"hidden {self.hidden} is not between 1 and 4096")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate {self.learning_rate} is not positive")


class Adversarial:
    """The penalty is the cross-entropy of taking codes for draws of the prior; 0 on held-out tiles."""

    def __init__(self, params: Params, code_size: int) -> None:
        self.prior, hidden = params.prior, params.hidden
        self.judge = nn.Sequential(
            nn.Linear(max(1, code_size), hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, 1),
        )
        self.optimizer = torch.optim.Adam(self.judge.parameters(), params.learning_rate, betas=(0.5, 0.999))
        self.seen: list[tuple[float, float]] = []  # loss and accuracy of each step

    def __call__(self, out: Output, batch: Batch) -> Tensor:
        code = code_of(out, "adversarial")
        if batch.entered is None:
            return code.new_zeros(())
        # (n, 1): logits; softplus(-t) is -log sigmoid(t), the cost of being told from the prior, without overflow
        told = self.judge(cells(code, batch.valid))
        return F.softplus(-told).sum() / max(1, len(told))

    def learn(self, out: Output, batch: Batch) -> None:
        """One step of the discriminator: the prior is 1, the code 0."""
        # detached: this step moves the discriminator alone
        code = cells(code_of(out, "adversarial").detach(), batch.valid)
        if not len(code):
            return
        real, made = self.judge(self.draws(code)), self.judge(code)
        loss = (F.softplus(-real).mean() + F.softplus(made).mean()) / 2
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        # half where it only guesses
        right = ((real > 0).float().mean() + (made <= 0).float().mean()) / 2
        self.seen.append((float(loss.detach()), float(right)))

    def draws(self, like: Tensor) -> Tensor:
        """As many draws of the prior as there are codes."""
        return torch.randn_like(like) if self.prior == "gaussian" else torch.rand_like(like) * 2 - 1

    def to(self, device: torch.device) -> Adversarial:
        """Move the discriminator."""
        self.judge.to(device)
        return self

    def measures(self) -> dict[str, float]:
        """Mean loss and accuracy of the discriminator since the last call."""
        steps, self.seen = self.seen or [(0.0, 0.0)], []
        loss, right = (sum(column) / len(steps) for column in zip(*steps, strict=True))
        return {"discriminator_loss": loss, "discriminator_accuracy": right}

    def state(self) -> dict[str, Any]:
        """Weights and the optimiser's memory."""
        return {"judge": self.judge.state_dict(), "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up such weights and memory."""
        self.judge.load_state_dict(state["judge"])
        self.optimizer.load_state_dict(state["optimizer"])


def cells(code: Tensor, valid: Tensor) -> Tensor:
    """The cells of a code (N, D, h, w) with a valid pixel: (n, D)."""
    # (N, D, h, w) -> (n, D)
    return code.permute(0, 2, 3, 1)[shares(valid, code)[:, 0] > 0]


def build(params: Params, code_size: int) -> Term:
    """The term, which is a `Rival`."""
    return Adversarial(params, code_size)
