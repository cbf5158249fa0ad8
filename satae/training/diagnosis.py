"""Diagnoses a finished run: findings, each with its evidence and the setting to change.

Each rule is a function from `Evidence` to a finding or None; the thresholds are theirs. Rules stand in the
order of how much they tell: only the first few are shown on a terminal.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from satae.training.evidence import Evidence

FEW_TILES = 12
Rule = Callable[[Evidence], "Finding | None"]


@dataclass(frozen=True)
class Finding:
    """A fault of a run: `fault` in a few words, `evidence` with numbers, `remedy` with the setting to change."""

    fault: str
    evidence: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.fault}: {self.evidence}; {self.remedy}"


def few_tiles(e: Evidence) -> Finding | None:
    """Too few tiles to learn from."""
    if e.tiles.count >= FEW_TILES:
        return None
    return Finding(
        "too few tiles",
        f"{e.tiles.count} to learn from",
        "add scenes, or cut smaller tiles: satae tile --size 32",
    )


def invalid_tiles(e: Evidence) -> Finding | None:
    """More invalid pixels than valid ones."""
    if e.tiles.valid >= 0.5:
        return None
    told = f"{e.tiles.valid:.0%} of the pixels in training tiles are valid"
    # --min-valid counts what lies in the scene, so it leaves out no tile for what lies beyond
    if e.tiles.valid >= 0.5 * e.tiles.inside:
        beyond = f"{told}, and {1 - e.tiles.inside:.0%} lie over the edge of the scene"
        return Finding(
            "mostly invalid tiles", beyond, f"cut smaller ones: satae tile --size {e.tiles.smaller}"
        )
    return Finding("mostly invalid tiles", told, "cut again with satae tile --min-valid 0.8")


def constant_tiles(e: Evidence) -> Finding | None:
    """Tiles in which nothing varies."""
    if e.tiles.constant <= 0.1:
        return None
    return Finding(
        "constant tiles",
        f"{e.tiles.constant:.0%} of the training tiles hold one value in every band",
        "declare it with satae tile --nodata, or leave such ground out with --aoi",
    )


def unreachable(e: Evidence) -> Finding | None:
    """An output activation with a range that the data leave."""
    if e.reach is None or min(e.reach.beyond, e.reach.pressed) <= 0.02 or dead_units(e):
        return None
    return Finding(
        "the output cannot reach the data",
        f"whatever the input, the reconstruction stays between {e.reach.low:.3g} and {e.reach.high:.3g}, and "
        f"{e.reach.beyond:.0%} of the held-out values lie beyond",
        "set model.params.output=linear, or input.space=unit",
    )


def learning_rate_too_high(e: Evidence) -> Finding | None:
    """Steps so large that losses rise, or jump from epoch to epoch: on training and held-out tiles alike, since
    the first rise while a penalty warms up and the second where there is overfitting."""
    remedy = f"lower train.learning_rate, {e.recipe.train.learning_rate:g} now"
    both = [[h.train_loss for h in e.history], [h.val_loss for h in e.history]]
    # three signs, from the plainest to the faintest: a rise, a peak above the mean's cost, an oscillation
    if len(e.history) >= 3 and all(losses[-1] > 1.5 * min(losses) for losses in both):
        text = f"the training loss rose from {min(both[0]):.3g} to {both[0][-1]:.3g}"
        return Finding("learning rate too high", text, remedy)
    # NaN where there is no such cost, and then the comparison is False
    if max(both[0]) > 5 * e.mean_loss:
        text = f"the training loss went up to {max(both[0]):.3g}, predicting the mean costs {e.mean_loss:.3g}"
        return Finding("learning rate too high", text, remedy)
    jumps = [_jumps(losses) for losses in both]
    if not all(len(j) >= 4 and sum(x > 0 for x in j) >= len(j) / 4 for j in jumps):
        return None
    # the median jump as a share of the loss
    typical = [math.expm1(median(map(abs, j))) for j in jumps]
    if min(typical) < 0.15:
        return None
    return Finding(
        "learning rate too high",
        f"the training loss oscillates: it rose in {sum(x > 0 for x in jumps[0])} of {len(jumps[0])} epochs, "
        f"and changed by {typical[0]:.0%} from one to the next",
        remedy,
    )


def _jumps(losses: Sequence[float]) -> list[float]:
    """Logarithms of the ratios of successive losses, without the first fifth."""
    found = [math.log(b / a) for a, b in itertools.pairwise(losses) if a > 0 and b > 0]
    # the first epochs fall steeply, which is no oscillation
    return found[len(found) // 5 :]


def only_the_mean(e: Evidence) -> Finding | None:
    """A reconstruction that is hardly better than one colour."""
    if "surprise" in e.recipe.objective.terms or not e.mse > 0.9 * e.variance:
        return None
    remedy = f"raise train.epochs or train.learning_rate, or {e.settings['larger']}"
    if learning_rate_too_high(e) or dead_units(e):
        remedy = f"lower train.learning_rate, {e.recipe.train.learning_rate:g} now"
    return Finding(
        "reconstructs little more than the mean",
        f"held-out squared error {e.mse:.3g}, predicting the mean costs {e.variance:.3g}",
        remedy,
    )


def posterior_collapse(e: Evidence) -> Finding | None:
    """A variational code that says nothing: numbers with under 0.01 nats (Burda et al. 2016)."""
    if not e.kl:
        return None
    silent = sum(nats < 0.01 for nats in e.kl)
    if silent <= len(e.kl) / 2:
        return None
    return Finding(
        "posterior collapse",
        f"{silent} of {len(e.kl)} numbers of the code carry under 0.01 nats, the best {max(e.kl):.3g}",
        f"lower objective.terms.kl, {e.recipe.objective.terms['kl']:g} now, or raise "
        "objective.params.kl.warm or objective.params.kl.free_bits",
    )


def discriminator_balance(e: Evidence) -> Finding | None:
    """A discriminator that always knows, or that never does though the code is not as the prior."""
    told = [h.measures["discriminator_accuracy"] for h in e.history if "discriminator_accuracy" in h.measures]
    if not told:
        return None
    late = told[-max(1, len(told) // 5) :]
    accuracy = sum(late) / len(late)
    if accuracy > 0.95:
        return Finding(
            "the discriminator won",
            f"it tells code from prior in {accuracy:.0%} of cases",
            "raise objective.terms.adversarial, or lower objective.params.adversarial.learning_rate",
        )
    if accuracy > 0.6 or e.spread is None:
        return None
    own = e.recipe.objective.params.get("adversarial", {})
    # the deviation of a uniform distribution from -1 to 1
    goal = 1 / math.sqrt(3) if own.get("prior") == "uniform" else 1.0
    if e.spread[0] < 0.5 * goal and goal / 2 < e.spread[1] < goal * 2:
        return None
    return Finding(
        "the discriminator lost",
        f"it is right in {accuracy:.0%} of cases, yet a number of the code has the deviation "
        f"{e.spread[1]:.2g} (prior {goal:.2g}) and means reach {e.spread[0]:.2g}",
        "raise objective.params.adversarial.learning_rate or objective.params.adversarial.hidden",
    )


def gradients(e: Evidence) -> Finding | None:
    """Layers that hardly move beside others, or gradients that only clipping holds."""
    names = e.history[-1].gradients
    sizes = {name: median(h.gradients.get(name, 0.0) for h in e.history) for name in names}
    listed = sorted(sizes, key=lambda name: sizes[name])
    norm = median(h.gradient_norm for h in e.history)
    if sizes and norm > 100 * e.recipe.train.clip:
        return Finding(
            "exploding gradients",
            f"their norm is {norm:.3g}, {norm / e.recipe.train.clip:.0f} times what is let through; most in "
            f"{listed[-1]}",
            "lower train.learning_rate, or set model.params.norm=batch where the architecture has it",
        )
    if not sizes or sizes[listed[-1]] == 0 or sizes[listed[0]] > 1e-4 * sizes[listed[-1]]:
        return None
    weak = [name for name in listed if sizes[name] <= 1e-4 * sizes[listed[-1]]]
    return Finding(
        "vanishing gradients",
        f"over its weights the gradient of {weak[0]} is {sizes[weak[0]]:.1g}, that of {listed[-1]} "
        f"{sizes[listed[-1]]:.1g}; {len(weak)} of {len(listed)} layers hardly learn",
        "set model.params.activation=relu or model.params.norm=batch where the architecture has them, or "
        "choose fewer layers",
    )


def dead_units(e: Evidence) -> Finding | None:
    """Units that give the same whatever the input."""
    dead = {name: share for name, share in e.dead.items() if share > 0.5}
    if not dead:
        return None
    worst = max(dead, key=lambda name: dead[name])
    return Finding(
        "dead units",
        f"{dead[worst]:.0%} of the units of {worst} never change; {len(dead)} of {len(e.dead)} layers are so",
        "lower train.learning_rate, or set model.params.activation=leaky_relu where the architecture has it",
    )


def small_code(e: Evidence) -> Finding | None:
    """A model that is no better than a PCA of the same code, and nothing else that explains it."""
    if e.pca_mse is None or e.mse < e.pca_mse:
        return None
    if any(rule(e) for rule in CAUSES):
        return None
    return Finding(
        "bottleneck too small, or not made use of",
        f"held-out squared error {e.mse:.3g}, a PCA with the same {e.code[0]} numbers has {e.pca_mse:.3g}",
        f"{e.settings['larger']}, or raise train.epochs",
    )


def copying(e: Evidence) -> Finding | None:
    """A reconstruction of whatever comes: of noise and planted squares as of the background."""
    if e.copied is None or min(e.copied.noise, e.copied.planted) < 0.9:
        return None
    return Finding(
        "copies its input",
        f"it rebuilds {e.copied.planted:.0%} of planted anomalies and {e.copied.noise:.0%} of added noise, "
        f"{e.copied.background:.0%} of the background",
        f"{e.settings['smaller']}, or set corrupt.gaussian=0.3 or a penalty such as objective.terms.sparse_l1",
    )


def overfitting(e: Evidence) -> Finding | None:
    """A model that does much better on the tiles that it learned from."""
    if not e.val_loss > 2 * e.train_loss > 0:
        return None
    return Finding(
        "overfitting",
        f"held-out loss {e.val_loss:.3g} is {e.val_loss / e.train_loss:.1f} times that of training tiles, "
        f"{e.train_loss:.3g}",
        f"add scenes, {e.settings['fewer']}, or raise train.weight_decay",
    )


def noise_too_high(e: Evidence) -> Finding | None:
    """A corruption that the model cannot undo."""
    if e.denoised is None or e.denoised.mse < 0.5 * e.variance:
        return None
    return Finding(
        "corruption too strong",
        f"of a corrupted input the squared error is {e.denoised.mse:.3g}, the mean has {e.variance:.3g}",
        "lower corrupt.gaussian, corrupt.masking or corrupt.salt",
    )


def noise_too_mild(e: Evidence) -> Finding | None:
    """A corruption that is smaller than what is lost anyway."""
    if e.denoised is None or e.denoised.damage > max(0.1 * e.mse, 1e-3 * e.variance):
        return None
    return Finding(
        "corruption too mild",
        f"it changes the input by {e.denoised.damage:.2g}, the squared error without it is {e.mse:.2g}",
        "raise corrupt.gaussian, corrupt.masking or corrupt.salt",
    )


def learning_rate_too_low(e: Evidence) -> Finding | None:
    """Losses that still fall when the epochs are over, or that hardly began to fall."""
    losses, epochs = [h.val_loss for h in e.history], e.recipe.train.epochs
    train = [h.train_loss for h in e.history]
    before = max(0, epochs - 1 - max(2, epochs // 5))
    falls = sum(b < a for a, b in itertools.pairwise(train))
    slow = e.mse > 0.5 * e.variance and falls >= 0.8 * (epochs - 1) and train[-1] > 0.5 * train[0]
    if learning_rate_too_high(e) or unreachable(e):
        return None
    if e.best == epochs >= 2 and losses[-1] < 0.8 * losses[before]:
        text = f"held-out loss went from {losses[before]:.3g} in epoch {before + 1} to {losses[-1]:.3g}"
    elif len(train) == epochs >= 4 and slow:
        text = f"training loss went from {train[0]:.3g} to {train[-1]:.3g}, falling in {falls} of {epochs - 1} epochs"
    else:
        return None
    return Finding(
        "learning rate too low, or too few epochs: still falling at the end",
        text,
        f"raise train.epochs, {epochs} now, or train.learning_rate, {e.recipe.train.learning_rate:g} now",
    )


CAUSES: tuple[Rule, ...] = (
    learning_rate_too_high, unreachable, only_the_mean, posterior_collapse, dead_units, overfitting, noise_too_high
)  # fmt: skip
TILES: tuple[Rule, ...] = (few_tiles, invalid_tiles, constant_tiles)
RULES: tuple[Rule, ...] = (
    learning_rate_too_high, unreachable, only_the_mean, posterior_collapse, discriminator_balance, gradients,
    dead_units, small_code, copying, overfitting, noise_too_high, noise_too_mild, learning_rate_too_low,
)  # fmt: skip


def findings(e: Evidence) -> list[Finding]:
    """Everything that stands out; where nothing was learned by gradients, of the tiles alone."""
    rules = (*TILES, *RULES) if e.learned else TILES
    return [found for rule in rules if (found := rule(e)) is not None]


def report(e: Evidence, found: Sequence[Finding]) -> str:
    """The text of diagnosis.md."""
    lines = [
        "# Diagnosis",
        "",
        f"- epochs run: {len(e.history)}, weights kept from epoch {e.best}",
        *_measured(e),
        "",
        *([f"- **{f.fault}**: {f.evidence}. {f.remedy}." for f in found] or ["Nothing stands out."]),
    ]
    return "\n".join(lines) + "\n"


def report_of_divergence(reason: str, rate: float) -> str:
    """The text of diagnosis.md for a run that ended because its loss was no longer a number."""
    found = Finding("learning rate too high", reason, f"train.learning_rate is {rate:g} now")
    return f"# Diagnosis\n\n- **{found.fault}**: {found.evidence}. {found.remedy}.\n"


def _measured(e: Evidence) -> list[str]:
    """Lines of numbers, of what there is."""
    kept = e.history[e.best - 1]
    if not e.learned:
        return [f"- training loss {kept.train_loss:.4g}, held-out loss {kept.val_loss:.4g}"]
    mean = "" if math.isnan(e.mean_loss) else f", predicting the mean {e.mean_loss:.4g}"
    lines = [f"- loss on training tiles {e.train_loss:.4g}, on held-out tiles {e.val_loss:.4g}{mean}"]
    pca = "" if e.pca_mse is None else f", a PCA with the same {e.code[0]} numbers {e.pca_mse:.4g}"
    lines.append(f"- held-out squared error {e.mse:.4g}, the mean {e.variance:.4g}{pca}")
    if e.copied is not None:
        shares = f"{e.copied.background:.0%} of the background, {e.copied.noise:.0%} of added noise, "
        lines.append(f"- in the reconstruction: {shares}{e.copied.planted:.0%} of planted squares")
    return lines
