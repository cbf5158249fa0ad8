"""What scoring made, as a program or a notebook takes it: regions as a table, heatmaps as arrays, the report."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from satae.console import quantity
from satae.later import Later
from satae.scene import readers
from satae.scoring.run import Result as Record
from satae.scoring.run import SceneResult

if TYPE_CHECKING:
    import geopandas
else:
    geopandas = Later("geopandas")

FRAME = (
    '<iframe srcdoc="{page}" sandbox="" title="Report of {name}" '
    'style="width: 100%; height: 640px; border: 1px solid #8886"></iframe>'
)


@dataclass(frozen=True)
class Result:
    """What `satae.score` made: files, and what is in them. `record` has all that the command prints, `rule` what was
    asked for."""

    record: Record
    rule: str

    @property
    def out(self) -> Path:
        """The file of the layers."""
        return self.record.out

    @property
    def report(self) -> Path | None:
        """The report, a page that any browser opens; None where it could not be made."""
        return self.record.report

    @property
    def scenes(self) -> list[SceneResult]:
        """What came of each scene, once a kind: name, kind, heatmap, number of regions, threshold, remarks."""
        return self.record.scenes

    @property
    def regions(self) -> geopandas.GeoDataFrame:
        """The regions as they are in the file now, decisions of a review too, by rank."""
        # read each time: a review may go on meanwhile
        if self.out.suffix.lower() == ".parquet":
            return geopandas.read_parquet(self.out)
        layers: dict[str, Any] = {"layer": "anomalies"} if self.out.suffix.lower() == ".gpkg" else {}
        return geopandas.read_file(self.out, **layers)

    @property
    def heatmap(self) -> Path:
        """The heatmap of the first of `scenes`, a GeoTIFF; with models for two kinds that of the model named first."""
        return self.scenes[0].heatmap

    def array(self, scene: int = 0) -> npt.NDArray[np.float32]:
        """The heatmap of one of `scenes` on its grid: -log10 p (row, col), NaN where a pixel does not count.

        With models for two kinds each scene is in `scenes` once a kind, and so has two.
        """
        source = readers.source(self.scenes[scene].heatmap)
        with readers.open_pixels(source) as pixels:
            return np.asarray(pixels.read([1], source.grid.window)[0], np.float32)

    @property
    def _summary(self) -> str:
        return f"{quantity(len(self), 'region')} in {quantity(self.record.number, 'scene')}"

    def __len__(self) -> int:
        return sum(scene.anomalies for scene in self.scenes)

    def __repr__(self) -> str:
        return f"<satae result {self.out}: {self._summary} ({self.rule})>"

    def _repr_html_(self) -> str:
        """The report in a frame of its own, where no script of it would run; a line where there is none."""
        name = html.escape(str(self.out), quote=True)
        if self.report is None or not self.report.is_file():
            return f"<p>{name}: {self._summary}</p>"
        # a frame keeps the styles of the page from the notebook, and its text is data there
        page = self.report.read_text(encoding="utf-8")
        return FRAME.format(page=html.escape(page, quote=True), name=name)
