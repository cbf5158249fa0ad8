"""A network over dates in ONNX Runtime: what one date leaves, by what the others left."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from satae.errors import ModelError
from satae.inference import runtime
from satae.inference.sequences import KEY, Array, Floats, SequenceCard, parse, with_card

PIXELS = 4096  # at once


@dataclass(frozen=True)
class OpenNetwork:
    """An open session, and the bytes of its file."""

    session: Any
    content: bytes
    card: SequenceCard

    def expectation(self, seen: Array, days: Floats, day: float) -> tuple[Floats, Floats]:
        """(mean (B, pixel), variance (pixel)) of what a day leaves, from `seen` (date, B, pixel), NaN where unknown.

        Dates of the same day are not looked at. `days` rise.
        """
        _, bands, pixels = seen.shape
        at = int(np.searchsorted(days, day))
        # the day is put among the others, where nothing is known of it
        when = np.insert(days, at, day).astype(np.float32)[None]
        mean, variance = np.empty((bands, pixels)), np.empty(pixels)
        for start in range(0, pixels, PIXELS):
            part = slice(start, min(start + PIXELS, pixels))
            x = np.insert(seen[:, :, part], at, np.nan, axis=0)
            x[when[0] == np.float32(day)] = np.nan
            good = np.isfinite(x[:, :1]).astype(np.float32)
            # (1, T, B, 1, pixel): pixels side by side, all of the same days
            feed = {
                "sequence": np.nan_to_num(x)[None, :, :, None],
                "valid": good[None, :, :, None],
                "days": when,
            }
            found, doubt = self.session.run(["reconstruction", "variance"], feed)
            mean[:, part], variance[part] = found[0, at, :, 0], doubt[0, at, 0, 0]
        return mean, variance

    def with_threshold(self, far: float, threshold: float) -> OpenNetwork:
        """The network with a card that tells the threshold of its place, as its file shall have it."""
        card = self.card.model_copy(
            update={"far": far, "threshold": threshold if np.isfinite(threshold) else None}
        )
        return replace(self, card=card, content=with_card(self.content, card))


def network_of(content: bytes, card: SequenceCard, name: str = "the network") -> OpenNetwork:
    """A network of a graph's bytes; ModelError where they are none."""
    return OpenNetwork(runtime.open_session(content, name), content, card)


def load(path: Path) -> OpenNetwork:
    """The network in a file that `satae series` wrote; ModelError where there is none."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    session = runtime.open_session(content, path.name)
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    if text is None:
        raise ModelError(
            f"{path} is no network over dates; name the file that `satae series` wrote, *_model.onnx"
        )
    return OpenNetwork(session, content, parse(text, path.name))
