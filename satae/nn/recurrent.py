"""A gated recurrent unit over dates, as one function to a trace: ONNX has it as one node, for dates of any number."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.overrides import wrap_torch_function

FAR = 4.0  # deviations
ABSENT = 100.0  # of the update gate, by which a state stays as it was


@wrap_torch_function(lambda x, weights, backward: (x,))
def gru(x: Tensor, weights: list[Tensor], backward: bool) -> Tensor:
    """States (T, N, C) after each date of x (T, N, F + 1), from the last date to the first if `backward`.

    `weights` are those of torch's GRU: input (3 C, F), state (3 C, C), and the bias of each (3 C). The last number of x
    is 0, or 1 where a date is absent: that leaves the state as it was.
    """
    series = x.flip(0) if backward else x
    begin = x.new_zeros(1, x.shape[1], weights[1].shape[1])
    weights = [staying(weights[0]), *weights[1:]]
    states, _ = torch._VF.gru(series, begin, weights, True, 1, 0.0, False, False, False)
    return states.flip(0) if backward else states


def staying(of_input: Tensor) -> Tensor:
    """Input weights (3 C, F + 1) of reset, update and new, with that of an absent date, which shuts out what is new."""
    reset, update, new = of_input.new_zeros(len(of_input), 1).chunk(3)
    return torch.cat([of_input, torch.cat([reset, update + ABSENT, new])], dim=1)


class Dense(nn.Module):
    """A linear map of the channels of (N, T, C, H, W), which lie in the middle; `zero`: it begins as that."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True, zero: bool = False) -> None:
        super().__init__()
        self.inner = nn.Linear(inputs, outputs, bias=bias)
        if zero:
            for weight in self.inner.parameters():
                nn.init.zeros_(weight)

    def forward(self, x: Tensor) -> Tensor:
        # einsum takes the channels where they lie: no copy of all dates
        mixed = torch.einsum("oc,ntchw->ntohw", self.inner.weight, x)
        return mixed if self.inner.bias is None else mixed + self.inner.bias[:, None, None]


def clip(x: Tensor) -> Tensor:
    """Deviations of which none is further than FAR: what clouds left is not carried to other dates."""
    return x.clamp(min=-FAR, max=FAR)


def day_terms(days: Tensor) -> Tensor:
    """Numbers (N, T, 4) of a day: where it stands in the year, twice over."""
    # of the year itself, not from the middle of the sequence: a season has the same numbers in every sequence
    turn = 2 * torch.pi / 365.25 * days
    return torch.stack([turn.cos(), turn.sin(), (2 * turn).cos(), (2 * turn).sin()], dim=2)
