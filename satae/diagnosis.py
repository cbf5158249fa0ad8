"""What a finished run says about itself: findings with evidence and the setting to change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from satae.checkpoint import Epoch


@dataclass(frozen=True)
class Finding:
    """`fault` in a few words, `evidence` with numbers, `remedy` with the setting to change."""

    fault: str
    evidence: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.fault}: {self.evidence}; {self.remedy}"


def findings(history: Sequence[Epoch], best: int, mean_loss: float, epochs: int) -> list[Finding]:
    """Faults that the losses show; `mean_loss` is the held-out loss of predicting the mean everywhere, NaN where
    it has none."""
    kept = history[best - 1]
    found: list[Finding] = []
    if kept.learning_rate == 0 and len(history) == 1:  # fitted in closed form: there was nothing to go wrong
        return found
    if kept.val_loss > 0.9 * mean_loss:
        found.append(
            Finding(
                "reconstructs little more than the mean",
                f"held-out loss {kept.val_loss:.3g}, predicting the mean costs {mean_loss:.3g}",
                "raise train.epochs or train.learning_rate, or lower model.params.compression",
            )
        )
    if kept.val_loss > 2 * kept.train_loss:
        found.append(
            Finding(
                "overfitting",
                f"held-out loss {kept.val_loss:.3g} is {kept.val_loss / kept.train_loss:.1f} times the "
                f"training loss {kept.train_loss:.3g}",
                "add scenes, or lower model.params.width",
            )
        )
    earlier = history[max(0, best - 1 - max(2, epochs // 5))]
    if best == epochs and kept.val_loss < 0.8 * earlier.val_loss:
        found.append(
            Finding(
                "still falling at the end",
                f"held-out loss went from {earlier.val_loss:.3g} to {kept.val_loss:.3g} in the last "
                f"{best - earlier.epoch} epochs",
                "raise train.epochs",
            )
        )
    return found


def report(history: Sequence[Epoch], best: int, mean_loss: float, found: Sequence[Finding]) -> str:
    """diagnosis.md."""
    kept = history[best - 1]
    mean = "" if math.isnan(mean_loss) else f", predicting the mean {mean_loss:.4g}"
    lines = [
        "# Diagnosis",
        "",
        f"- epochs run: {len(history)}, weights kept from epoch {best}",
        f"- training loss {kept.train_loss:.4g}, held-out loss {kept.val_loss:.4g}{mean}",
        "",
    ]
    lines += [f"- **{f.fault}**: {f.evidence}. {f.remedy}." for f in found] or ["Nothing stands out."]
    return "\n".join(lines) + "\n"
