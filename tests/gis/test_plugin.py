"""The plugin for QGIS: what it types, how it runs and ends satae, and satae:score in a QGIS without a window."""

from __future__ import annotations

import ast
import configparser
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import geopandas
import places
import pytest
import typer
from inqgis import PYTHON, needs_qgis

import satae
from satae.cli import app
from satae.gis.plugin import commands, process

ROOT = Path(satae.__file__).parent.parent
PLUGIN = ROOT / "satae" / "gis" / "plugin"
QGIS_PROCESS = Path(
    "/usr/bin/qgis_process.bin"
)  # beside it lies a script that passes options it does not know


def command(name: str) -> commands.Command:
    return next(c for c in commands.COMMANDS if c.name == name)


def script(folder: Path, name: str, *lines: str) -> str:
    path = folder / name
    path.write_text("\n".join([f"#!{sys.executable}", *lines, ""]))
    path.chmod(0o755)
    return str(path)


def wrapped(folder: Path) -> str:
    """A command that runs this satae, whatever the environment."""
    start = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from satae.__main__ import main"
    # processes that satae run spawns read this file too
    return script(folder, "satae", start, 'if __name__ == "__main__":', "    main()")


def test_answers_become_words_and_what_is_not_answered_is_left_out() -> None:
    answers = {
        "SCENES": ["/a b/north.tif", "-odd.tif"], "MODEL": "m.onnx", "TOP": 20, "FAR": None, "BANDS": "",
        "OVERWRITE": True, "MORE": "--device cpu --sensor 'a b'", "OUTPUT": "out.gpkg",
    }  # fmt: skip
    assert command("score").words(answers) == [
        "score", "--model", "m.onnx", "--top", "20", "--device", "cpu", "--sensor", "a b", "--overwrite",
        "--out", "out.gpkg", "--", "/a b/north.tif", "-odd.tif",
    ]  # fmt: skip
    assert command("tile").words({"SCENES": ["a.tif"], "OVERWRITE": False}) == ["tile", "--", "a.tif"]


@pytest.mark.parametrize("offered", commands.COMMANDS, ids=lambda c: c.name)
def test_what_is_typed_is_known_to_the_command_line(offered: commands.Command) -> None:
    known = typer.main.get_command(app.app).commands  # type: ignore[attr-defined]
    if offered.name not in known:
        pytest.skip(f"there is no satae {offered.name} yet")
    options = {name for p in known[offered.name].params for name in p.opts}
    assert {f.option for f in offered.fields if f.option} | {"--json"} <= options
    assert [f.name for f in offered.fields].count(offered.output.name) == 1


def test_the_archive_is_small_and_needs_only_qgis_and_the_standard_library(tmp_path: Path) -> None:
    target = tmp_path / "plugin.zip"
    pack = [sys.executable, ROOT / "scripts" / "pack_plugin.py", target]
    subprocess.run(pack, check=True, capture_output=True)
    first = target.read_bytes()
    subprocess.run(pack, check=True, capture_output=True)
    assert target.read_bytes() == first and len(first) < 30_000
    with zipfile.ZipFile(target) as archive:
        content = {name: archive.read(name).decode() for name in archive.namelist()}
    assert {name.split("/")[0] for name in content} == {"satae_processing"}
    for name, text in content.items():
        if not name.endswith(".py"):
            continue
        tree = ast.parse(text, feature_version=(3, 9))  # the Python of QGIS 3.22 on Windows
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            for found in names:
                assert found.split(".")[0] in {*sys.stdlib_module_names, "qgis", "processing"}, (name, found)
    about = configparser.ConfigParser(interpolation=None)
    about.read_string(content["satae_processing/metadata.txt"])
    assert (
        about["general"]["qgisMinimumVersion"] == "3.22" and about["general"]["qgisMaximumVersion"] == "4.99"
    )
    assert about["general"]["version"] == satae.__version__ and "__init__.py" in str(list(content))


def test_satae_is_found_as_chosen_then_by_its_variable_then_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SATAE", raising=False)
    monkeypatch.setattr(process, "places", lambda: [tmp_path / "elsewhere"])
    assert process.executable() == []
    on_path = script(tmp_path, "satae")
    assert process.executable() == [on_path]
    monkeypatch.setenv("SATAE", "/opt/venv/bin/python3.12")
    assert process.executable() == ["/opt/venv/bin/python3.12", "-m", "satae"]
    assert process.executable("/chosen/satae") == ["/chosen/satae"]


def test_the_python_of_qgis_is_not_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in process.FOREIGN:
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("KEPT", "1")
    show = script(tmp_path, "show", "import json, os", "print(json.dumps(dict(os.environ)))")
    monkeypatch.delenv("LD_LIBRARY_PATH")
    _, printed, _ = process.run([show], tmp_path, print, print, lambda: False)
    given = json.loads(printed)
    assert not set(process.FOREIGN) & set(given) and given["KEPT"] == "1" and given["NO_COLOR"] == "1"


def test_lines_come_while_it_works_and_say_how_far_it_is(tmp_path: Path) -> None:
    work = script(
        tmp_path, "work", "import sys",
        'print("score north [#####...............]  25 %  1.0 Mpx/s  0:10 left", file=sys.stderr)',
        'print("note: 99 % of it is water", file=sys.stderr)',
        'print("score north [####################] 100 %  0:12 elapsed", file=sys.stderr)',
        'print("{}")', "sys.exit(4)",
    )  # fmt: skip
    said: list[str] = []
    shares: list[float] = []
    code, printed, heard = process.run([work], tmp_path, said.append, shares.append, lambda: False)
    assert (code, printed, shares) == (4, "{}\n", [25.0, 100.0]) and said == heard and len(said) == 3


def test_cancelling_lets_it_tidy_up_and_kills_what_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tidy = script(
        tmp_path, "tidy", "import pathlib, signal, sys, time",
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))",
        "try:", '    print("on", file=sys.stderr, flush=True); time.sleep(60)',
        "except SystemExit:", "    pathlib.Path('tidied').touch()",
    )  # fmt: skip
    on: list[str] = []
    with pytest.raises(process.Cancellation):
        process.run([tidy], tmp_path, on.append, print, lambda: bool(on))
    assert (tmp_path / "tidied").exists()
    monkeypatch.setattr(process, "PATIENCE", 0.3)
    deaf = script(
        tmp_path, "deaf", "import os, signal, sys, time", "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        'print(os.getpid(), file=sys.stderr, flush=True); time.sleep(60)',
    )  # fmt: skip
    on.clear()
    started = time.monotonic()
    with pytest.raises(process.Cancellation):
        process.run([deaf], tmp_path, on.append, print, lambda: bool(on))
    assert time.monotonic() - started < 10
    with pytest.raises(ProcessLookupError):
        os.kill(int(on[0]), signal.SIG_DFL)


def environment(home: Path) -> dict[str, str]:
    """That of a new user of QGIS who has installed the plugin and satae."""
    plugins = home / "plugins"
    if not plugins.exists():
        plugins.mkdir()
        pack = [sys.executable, ROOT / "scripts" / "pack_plugin.py", home / "plugin.zip"]
        subprocess.run(pack, check=True, capture_output=True)
        with zipfile.ZipFile(home / "plugin.zip") as archive:
            archive.extractall(plugins)
    home.chmod(0o700)
    return {
        "QT_QPA_PLATFORM": "offscreen", "HOME": str(home), "XDG_RUNTIME_DIR": str(home), "LC_ALL": "C.UTF-8",
        "PATH": "/usr/bin:/bin", "QGIS_PLUGINPATH": str(plugins), "SATAE": wrapped(home), "OMP_NUM_THREADS": "1",
    }  # fmt: skip


def run_in_qgis(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    given = environment(home)
    if not QGIS_PROCESS.exists():
        pytest.skip(f"there is no {QGIS_PROCESS}")
    enable = [QGIS_PROCESS, "plugins", "enable", "satae_processing"]
    subprocess.run(enable, env=given, capture_output=True)
    return subprocess.run([QGIS_PROCESS, *words], env=given, capture_output=True, text=True, timeout=120)


@needs_qgis
def test_qgis_process_runs_satae_score(scene_path: Path, model_path: Path, tmp_path: Path) -> None:
    """The same rows as the command writes, from a folder that QGIS made."""
    out = tmp_path / "made" / "anomalies.gpkg"
    given = (f"SCENES={scene_path}", f"MODEL={model_path}", "TOP=5", f"OUTPUT={out}")
    done = run_in_qgis(tmp_path, "run", "satae:score", "--", *given)
    assert done.returncode == 0 and f"OUTPUT:\t{out}" in done.stdout, done.stdout + done.stderr
    plain = tmp_path / "plain.gpkg"
    words = ["score", "--model", model_path, "--top", "5", "--out", plain, scene_path]
    subprocess.run([wrapped(tmp_path), *words], check=True, capture_output=True)
    rows, expected = (geopandas.read_file(p, layer="anomalies").drop(columns="chip") for p in (out, plain))
    assert len(rows) == 5 and rows.equals(expected)
    again = run_in_qgis(tmp_path, "run", "satae:score", "--", *given)
    assert again.returncode != 0 and "exists; pass --overwrite to replace it" in again.stdout + again.stderr
    assert "Traceback" not in again.stdout + again.stderr


@needs_qgis
def test_qgis_process_runs_satae_run(scene_path: Path, model_path: Path, tmp_path: Path) -> None:
    listed = tmp_path / "scenes.txt"
    listed.write_text(f"{scene_path}\n")
    given = (f"LIST={listed}", f"MODEL={model_path}", "TOP=4", f"OUTPUT={tmp_path / 'coast'}")
    done = run_in_qgis(tmp_path, "run", "satae:run", "--", *given)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(geopandas.read_file(tmp_path / "coast" / "anomalies.gpkg", layer="anomalies")) == 4


@needs_qgis
def test_qgis_process_runs_satae_series(tmp_path: Path) -> None:
    """A step of many deviations from one date on, which satae finds from a folder of dates."""
    when = places.days(44)
    dn = places.cube(when)
    dn[38:, :, 10:16, 20:27] += 800
    places.write(tmp_path / "dates", when, dn)
    past = f"HISTORY=..{when[35].isoformat()}"
    given = (f"FOLDER={tmp_path / 'dates'}", past, f"OUTPUT={tmp_path / 'changes.gpkg'}")
    done = run_in_qgis(tmp_path, "run", "satae:series", "--", *given)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(geopandas.read_file(tmp_path / "changes.gpkg", layer=command("series").layer)) >= 1


LOADING = r"""
import json, sys
sys.path += ["/usr/share/qgis/python/plugins", sys.argv[1]]
from qgis.core import *
app = QgsApplication([], True)
app.initQgis()
from processing.core.Processing import Processing
Processing.initialize()
from satae_processing.provider import Plugin
plugin = Plugin()
plugin.initProcessing()
import processing

scene, model, out = sys.argv[2:]
seen, context = {}, QgsProcessingContext()
context.setProject(QgsProject.instance())
layer = QgsRasterLayer(scene, "scene")
given = {"SCENES": [layer], "MODEL": model, "TOP": 5, "OUTPUT": out}

feedback = QgsProcessingFeedback()
feedback.progressChanged.connect(lambda share: seen.setdefault("shares", []).append(share))
seen["result"] = processing.run("satae:score", given, context=context, feedback=feedback)
seen["layers"] = []
for uri, details in context.layersToLoadOnCompletion().items():
    made = QgsProcessingUtils.mapLayerFromString(uri, context)
    details.postProcessor().postProcessLayer(made, context, feedback)
    seen["layers"].append([details.name, made.isValid(), made.renderer().type()])

stopping = QgsProcessingFeedback()
stopping.cancel()
try:
    processing.run("satae:score", {**given, "OVERWRITE": True}, context=context, feedback=stopping)
except QgsProcessingException as error:
    seen["stopped"] = str(error)

from satae_processing import algorithm
seen["facts"] = dict(algorithm.facts())
plugin.unload()
seen["gone"] = QgsApplication.processingRegistry().providerById("satae") is None
print(json.dumps(seen))
"""


@needs_qgis
def test_results_are_loaded_with_their_styles_and_a_run_can_be_cancelled(
    scene_path: Path, model_path: Path, tmp_path: Path
) -> None:
    given, out = environment(tmp_path), tmp_path / "found.gpkg"
    words = [tmp_path / "plugins", scene_path, model_path, out]
    done = subprocess.run(
        [PYTHON, "-c", LOADING, *words], env=given, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["result"] == {"OUTPUT": str(out)} and 100.0 in seen["shares"]
    assert sorted(seen["layers"]) == [
        ["found", True, "graduatedSymbol"],
        ["found_heatmap", True, "singlebandpseudocolor"],
    ]
    assert "cancelled; satae left nothing half done" in seen["stopped"]
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".found")] == []
    assert (
        seen["facts"]["satae:score"] == "ready" and seen["facts"]["version"] == f"satae {satae.__version__}"
    )
    assert seen["gone"]
