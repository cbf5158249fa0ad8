"""Seconds until the page of `satae review` is usable, and milliseconds from a key to what it paints.

    python benchmarks/review.py             # 20,000 regions; needs playwright and Chromium (SATAE_CHROMIUM names it)
    python benchmarks/review.py --regions 1000 --keys 200

Usable: from the browser's request to the first region chosen, its row drawn and keys heard. Key to paint: the browser's
own event timing, from the system's time of the key to the frame that shows it; frames under 16 ms are counted as 16.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from affine import Affine
from pyproj import CRS

from satae.formats import gpkg
from satae.gis import columns, layers
from satae.grid import Grid
from satae.scene import output

CREATED = "2026-01-01T00:00:00Z"
STEP = 14  # pixels between regions
QUIET = "--no-sandbox --disable-gpu --disable-background-networking --no-first-run"
KEYS = {
    "J, K": "j j k",
    "A, R, S": "a r s",
    "1, 2": "1 2",
    ".": ".",
    "U": "u",
    "N, Esc": "n Escape",
    "C": "c",
    "H": "h",
    "O": "o",
    "G": "g",
    "B, Esc": "b Escape",
    "?, Esc": "? Escape",
}
WIDE = {
    "F": "f",
    "F, A": "f a",
    "O, the whole scene": "f o o f",
    "H, the whole scene": "f h h f",
    "P": "p",
}  # keys that draw or order all regions
TIMES = """() => {
  window.times = [];
  const keep = (list) => list.getEntries().forEach((e) => e.name === "keydown" && window.times.push(e.duration));
  new PerformanceObserver(keep).observe({ type: "event", durationThreshold: 16 });
}"""


def result(folder: Path, number: int) -> Path:
    """A result of so many small regions of 12 corners, with scene and heatmap, written by satae's own writers."""
    across = int(np.ceil(np.sqrt(number)))
    side = max(512, across * STEP)
    grid = Grid(side, side, Affine(10, 0, 5e5, 0, -10, 5e6), CRS.from_epsg(32632).to_wkt())
    rng = np.random.default_rng(0)
    heat = 1.5 * rng.random((side, side), np.float32)
    rows, cols = np.divmod(np.arange(number), across)
    outlines = shapely.multipolygons(
        shapely.buffer(
            shapely.points(STEP * cols + 7, STEP * rows + 7), rng.uniform(2, 6, number), quad_segs=3
        ),
        indices=np.arange(number),
    )
    polygons = grid.polygons(outlines)
    looks = [json.dumps(look) for look in rng.normal(size=(number, 9)).round(4).tolist()]
    regions = []
    for i in range(number):
        score = 2 + 7 * (number - i) / number
        heat[STEP * rows[i] + 5 : STEP * rows[i] + 9, STEP * cols[i] + 5 : STEP * cols[i] + 9] = score
        regions.append(
            columns.Region(
                anomaly_id=f"scene-{i}", scene="scene", score=score, p_value=10**-score, peak=20.0, mean=10.0,
                area_m2=float(100 * (1 + i % 60)), pixels=1 + i % 60, top_band="red",
                band_shares='{"blue": 0.1, "green": 0.2, "red": 0.4, "nir": 0.3}', spectral_share=0.7, baseline=None,
                baseline_score=np.nan, baseline_p=np.nan, feedback=0.0, signature=looks[i], chip=None,
                polygon=polygons[i], outline=outlines[i],
            )
        )  # fmt: skip
    with output.writing(folder / "scene.tif", grid, bands=4, dtype="uint16", nodata=0) as out:
        out.write(rng.integers(500, 1500, (4, side, side)).astype(np.uint16), grid.window)
    with output.writing(folder / "plain.tif", grid, nodata=np.nan) as out:
        out.write(heat[None], grid.window)
    output.to_cog(folder / "plain.tif", folder / "anomalies_heatmap.tif")
    scene = columns.Footprint(
        scene="scene", path="scene.tif", crs=grid.crs or "", gsd_m=10.0, bands="blue,green,red,nir",
        valid_fraction=1.0, anomalies=number, threshold=2.0, rule="far 10", domain=None, domain_note="",
        model_sha256="ab", satae_version="0", provider="CPU", created=CREATED,
    )  # fmt: skip
    one = np.ones(1)
    tiles = columns.Tiles(
        scene=np.array(["scene"], object), row=0 * one, col=0 * one, score=one, p_value=one, valid_fraction=one,
        corners=grid.footprint()[None, :4],
    )  # fmt: skip
    path = folder / "anomalies.gpkg"
    made = layers.SceneLayer(grid, regions, tiles, scene, "anomalies_heatmap.tif", 9)
    gpkg.write(path, path.name, [made], CREATED)
    return path


def measured(page: Any, keys: list[str], number: int, pause: int = 120) -> np.ndarray:
    """Milliseconds from each key to its paint, the keys pressed in turn, `pause` ms apart."""
    page.evaluate("window.times.length = 0")
    for i in range(number):
        page.keyboard.press(keys[i % len(keys)])
        page.wait_for_timeout(pause)
    page.wait_for_timeout(500)
    times = page.evaluate("window.times")
    return np.array([16.0] * (number - len(times)) + times)


def show(name: str, times: np.ndarray) -> None:
    """Print a row."""
    middle, high, most = np.quantile(times, [0.5, 0.95, 1])
    print(
        f"{middle:5.0f} ms {high:5.0f} ms {most:5.0f} ms  {name}: median, 95 %, most of {len(times)} keys",
        flush=True,
    )


def main() -> None:
    """Print the seconds until the page is usable, and a row a kind of key."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--regions", type=int, default=20_000)
    parser.add_argument("--keys", type=int, default=50)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--result", type=Path, help="a result that is there; its decisions are changed")
    how = parser.parse_args()
    api = importlib.import_module("playwright.sync_api")
    chromium = os.environ.get("SATAE_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as place, api.sync_playwright() as playwright:
        path = how.result or result(Path(place), how.regions)
        print(f"{path.stat().st_size / 1e6:.1f} MB of result", flush=True)
        started = time.monotonic()
        command = [sys.executable, "-m", "satae", "review", str(path)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        link = server.stdout.readline().strip()
        print(f"{time.monotonic() - started:5.2f} s from the command to its link", flush=True)
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET.split())
        try:
            waits = []
            for _ in range(how.runs):
                context = browser.new_context(viewport={"width": 1366, "height": 768})
                page = context.new_page()
                started = time.monotonic()
                page.goto(link)
                page.wait_for_selector("html[data-ready]")
                page.wait_for_selector(".row[aria-selected=true]")
                waits.append(time.monotonic() - started)
                if len(waits) < how.runs:
                    context.close()
            print(
                f"{min(waits):5.2f} s until usable, the least of {len(waits)}: {np.round(waits, 2)}",
                flush=True,
            )
            page.wait_for_timeout(1500)
            page.evaluate(TIMES)
            for name, keys in KEYS.items():
                show(name, measured(page, keys.split(), how.keys))
            for name, keys in WIDE.items():
                show(name, measured(page, keys.split(), how.keys, pause=700))
            started = time.monotonic()
            with page.expect_response("**/ranking"):
                page.keyboard.press("p")
            page.wait_for_selector("#again:enabled")
            print(f"{time.monotonic() - started:5.2f} s from P until the list is ranked again", flush=True)
            page.select_option("#by-status", "unreviewed")
            page.locator("#list").focus()
            show("A, R with a filter", measured(page, ["a", "r"], how.keys))
        finally:
            browser.close()
            server.send_signal(signal.SIGINT)
            server.wait()


if __name__ == "__main__":
    main()
