"""What each command loads: each is run for real, on something tiny, and no library that it does not use comes in."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import hear_interrupts
from results import finished
from shared import Shared

from satae.cli import app

HEAVY = [
    "numpy", "rasterio", "shapely", "pyproj", "pyogrio", "geopandas", "pandas", "pyarrow", "scipy", "cv2", "torch",
    "onnxruntime", "onnx", "albumentations", "matplotlib", "yaml", "fastapi",
]  # fmt: skip
PROGRAM = f"""
import atexit, os, sys
tell, leave = lambda: open(os.environ["LOADED"], "w").write(" ".join(set({HEAVY}) & set(sys.modules))), os._exit
atexit.register(tell)
# a command that was interrupted ends by it
os._exit = lambda code: (tell(), leave(code))
from satae.cli.app import main
main()
"""
PIXELS = "numpy rasterio "
SHAPES = PIXELS + "shapely pyproj "
FRAMES = "pyogrio geopandas pandas pyarrow "  # pyogrio brings in the others where they are installed
TRAINING = SHAPES + "scipy cv2 torch onnxruntime onnx albumentations matplotlib yaml"

MAY_LOAD = {
    "--help": "",
    "--version": "",
    "tile --help": "",
    "demo --help": "",
    "bench --help": "",
    "bench had --help": "",
    "models": "numpy scipy torch yaml",
    "tile {scene}": PIXELS,
    "tile {scene} --aoi {aoi} --patches": SHAPES + FRAMES,
    "info {scene} --check": PIXELS + "pyproj",
    "info {tiles} --check": "numpy",
    "info {model}": "numpy onnxruntime",
    "info {result} --check": "",
    "score {scene} --model {model}": SHAPES + FRAMES + "scipy cv2 onnxruntime",
    "train {tiles} --set model.name=rx": TRAINING,
    "export {model} --precision fp16 --tiles {tiles} --out small.onnx": SHAPES
    + "scipy cv2 torch onnxruntime onnx yaml",
}


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    """A command in a process of its own; what it loads of HEAVY will stand in the file `loaded`."""
    command = [sys.executable, "-c", PROGRAM, *words]
    place = os.environ | {"LOADED": str(folder / "loaded")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=place, preexec_fn=hear_interrupts, **pipes)  # type: ignore[call-overload,no-any-return]


def loaded(folder: Path) -> set[str]:
    return set((folder / "loaded").read_text().split())


def things_of(
    scene_path: Path, tile_set: Path, model_path: Path, shared: Shared, tmp_path: Path
) -> dict[str, Path]:
    """What commands are given, by the words that stand for it."""
    aoi = tmp_path / "aoi.geojson"
    ring = "[[[9, 46.9], [9.01, 46.9], [9.01, 46.95], [9, 46.95], [9, 46.9]]]"
    aoi.write_text(f'{{"type": "Polygon", "coordinates": {ring}}}')
    result = finished(shared) / "anomalies.gpkg"
    return {"scene": scene_path, "tiles": tile_set, "model": model_path, "result": result, "aoi": aoi}


@pytest.mark.parametrize("line", MAY_LOAD)
def test_a_command_loads_what_it_uses_and_no_more(
    line: str, tmp_path: Path, scene_path: Path, tile_set: Path, model_path: Path, shared: Shared
) -> None:
    things = things_of(scene_path, tile_set, model_path, shared, tmp_path)
    with start(tmp_path, *(word.format_map(things) for word in line.split())) as command:
        _, error = command.communicate(timeout=300)
    assert command.returncode == 0, error
    assert loaded(tmp_path) <= set(MAY_LOAD[line].split())


def test_a_review_loads_no_network_no_model_and_no_frames(tmp_path: Path, gpkg: Path) -> None:
    with start(tmp_path, "review", str(gpkg)) as command:
        assert command.stdout is not None
        assert command.stdout.readline().startswith("http://127.0.0.1:")
        command.send_signal(signal.SIGINT)
        command.communicate(timeout=60)
    assert loaded(tmp_path) <= set(f"{SHAPES} cv2 fastapi".split())


def test_what_lists_and_what_demonstrates_loads_no_frames_before_it_must(tmp_path: Path) -> None:
    """`satae models` measures every architecture, and the demo takes minutes: their modules alone are loaded."""
    program = f"import sys, satae.cli.catalogue\nprint(*(n for n in {HEAVY} if n in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= set(["numpy", "scipy", "torch", "yaml"])


def test_options_of_commands_are_no_text_that_typer_would_compile_at_every_start() -> None:
    """With it `satae --help` costs 1.7 times what `import typer` does, without it 1.3."""
    commands = [*app.app.registered_commands, *app.bench.registered_commands]
    assert len(commands) > 10
    given = [(c.callback.__name__, a) for c in commands for a in c.callback.__annotations__.values()]  # type: ignore[union-attr]
    assert [(name, text) for name, text in given if isinstance(text, str)] == []
