"""What --help says of each command, and docs/commands.md with it: what it does, what it leaves, how it is typed.

Paragraphs are wrapped by click, but for those behind a backspace; the options stand at the commands themselves.
"""

MANUAL = {
    "tile": """Split scenes into tiles, from which a model is trained.

Writes tiles/NAME for NAME.tif: one memory-mapped array of the stored values, a mask of the pixels that count,
and an index (tiles/README.md has the format). A pixel counts where every used band is valid: nodata, masks,
alpha, NaN, --aoi, --mask and --nodata all exclude it. Memory does not follow the size of the scene.
Of files that do not say what they hold --sensor does: sentinel2-l2a, sentinel2-l1c, landsat-8-l2, planetscope,
rapideye, worldview, naip, emit, prisma, enmap, aviris, alphaearth, tessera.

\b
Examples:
  satae tile scene.tif
  satae tile north.tif south.tif --bands 2-4,8 --aoi land.gpkg
  satae tile B02.tif B03.tif B04.tif B08.tif --stack
  satae tile stack.tif --sensor sentinel2-l2a --offset -1000
  satae tile items.json https://example.org/items/S2A_32TQM --allow-network
  satae tile scenes.txt --sample 500
""",
    "train": """Fit a model of what is normal and export it to one ONNX file.

Takes all tile sets below tiles/ unless some are named, or scenes are listed as for `satae run`: of those up to 16
are cut into tiles/ first, and a sample of each is learned from. Without --config a recipe is chosen by the number of
bands and the size of a pixel; `satae models` lists those that there are. Some blocks of the scenes are held out:
the scores are calibrated on them. The folder runs/NAME keeps recipe, history.csv, checkpoint, curves.png,
reconstructions.png and diagnosis.md, which says what to look at. An interrupted run goes on with --resume.
`torchrun --nproc-per-node N -m satae train` trains a model of 100,000 weights or more on N GPUs.

\b
Examples:
  satae train
  satae train tiles/north tiles/south --out coast.onnx
  satae train scenes.txt --sample 500
  satae train --config areas
  satae train --config my.yaml --set train.epochs=60 --device cuda
""",
    "score": """Map where scenes are out of place, and rank the regions.

Scores the scenes of tiles/ unless some are named. Beside the layers (--out) lie a heatmap (COG) a scene, a
folder of chips, and a report that opens in any browser. Choose at most one of --far, --fdr, --top and
--threshold. Of a scene unlike those trained on no region is reported unless --top or --force-domain asks. One
whose DN look shifted, scaled or band-swapped beside those trained on is refused unless --force-domain asks.

\b
Examples:
  satae score --out anomalies.gpkg
  satae score new.tif --model coast.onnx --top 20
  satae score new.tif --far 2 --min-area 500 --baseline rx_shrunk
  satae score --out anomalies.parquet --stac
""",
    "run": """Score many scenes: a coast, a season, an archive.

Takes scenes, and what lists scenes: a text file with one a line, a folder, a glob, a CSV or Parquet table with the
columns path, name and options of its row, an ItemCollection of STAC or a stac-geoparquet table. A scene becomes a
finished folder scenes/NAME-KEY below --out, all or nothing; the key is a hash of the scene, the model and the options.
With a model for objects and one for areas it becomes two, and the result holds both kinds of regions.
Typed again, the command does what is missing or failed. journal.jsonl has a line for each attempt, index.parquet a row
for each scene. What is refused (exit code 2) is not tried again, what fails otherwise up to twice on another process.

\b
Examples:
  satae run scenes.txt --model coast.onnx --out coast --jobs 4
  satae run archive --model coast.onnx --out coast --shard 0/8
  satae run table.csv --model coast.onnx --out coast --max-failures 5%
  satae run archive --model coast.onnx --model areas.onnx --out coast --collect
""",
    "series": """Find what changed in many dates of one place, and when.

Learns what each pixel shows through the year from the history, and scores the dates after it one by one. An alarm
is where 2 of 3 valid dates differ in the same way (--persistence); a cloud that the masks missed stands alone. Dates
come from a table, metadata, STAC or file names (docs/series.md). Grids may differ by whole pixels and whole
multiples of one. Beside the layers (--out) lie a report with the dates and the course of each region, heat a date,
first days, magnitudes and persistence as COGs, and a state: --state goes on from it, so that a new date costs one.

\b
Examples:
  satae series FOLDER
  satae series dates.csv --out place.gpkg
  satae series FOLDER --history ..2019-12-31 --monitor 2020-01-01.. --far 0.1
  satae series new.tif --state changes_state.tif --out may.gpkg
""",
    "review": """Look through the regions in a browser and decide, by keys.

RESULT is a GeoPackage that satae score or satae series wrote. The link that is printed holds for this run and this
machine; every decision is in the file at once. Ctrl-C ends it. Needs `pip install 'satae[review]'`.

\b
Examples:
  satae review anomalies.gpkg
  satae review anomalies.gpkg --labels ship,buoy,wake
""",
    "export": """Write the same model for QGIS, or in fewer bits.

Takes a run folder or a model file. --flavor deepness makes the model that the QGIS plugin Deepness runs;
--precision fp16 or int8 makes a smaller one. What fewer bits cost is measured on held-out tiles, printed and
written into the model card; where that is too much, nothing is written.

\b
Examples:
  satae export runs/model --flavor deepness
  satae export model.onnx --precision fp16 --out small.onnx
""",
    "info": """Say what a scene, tile set, model or result is, and what it holds.

--check reads every block of a scene or tile set, and a result as SQLite checks it; damage ends with exit code 2.

\b
Examples:
  satae info scene.tif --check
  satae info model.onnx
  satae info anomalies.gpkg --json
""",
    "models": """List recipes, and the architectures, losses and scores in them.

All that a recipe can name, with settings and their defaults, weights, code size and measured receptive field of every
architecture.

\b
Examples:
  satae models
  satae models --json
""",
    "demo": """Run the three commands on a made-up scene with planted anomalies.

Leaves scene, tiles, model, layers, report and overview.png in a folder and says which planted objects were
found. Takes less than a minute on two cores.

\b
Examples:
  satae demo
  satae demo --out try
""",
    "bench": """Compare a recipe with the classics, on your own or known scenes.

rx, rx_shrunk, annulus, memory and pca run on the same scenes, with the same map steps; cifar10 compares recipes
with each other and with PCA on small images. The folder that --out names holds table, JSON and pictures.

\b
Examples:
  satae bench inject scene.tif
  satae bench had FOLDER
""",
    "bench had": """Compare on hyperspectral scenes with known targets.

FOLDER holds .mat files with `data` (rows, cols, bands) and `map`. Truth is measured with, never trained on.

\b
Examples:
  satae bench had FOLDER
  satae bench had FOLDER --seeds 0,1,2 --config hyperspectral
""",
    "bench ships": """Compare on ports with labelled ships.

FOLDER holds NAME.tif, each with a NAME_shipmask.tif that is over 0 where a ship is.

\b
Examples:
  satae bench ships FOLDER
  satae bench ships FOLDER --mask-suffix _water.tif --library
""",
    "bench masks": """Compare on any scenes with truth rasters.

\b
Examples:
  satae bench masks a.tif b.tif --truth a_mask.tif --truth b_mask.tif
  satae bench masks a.tif --truth a_mask.tif --epochs 5 --out quick
""",
    "bench inject": """Plant targets into a scene and look for them: no labels needed.

Says how large and how different a thing must be to be found in this scene at --far false alarms.

\b
Examples:
  satae bench inject scene.tif
  satae bench inject scene.tif --sizes 2,4 --contrasts 1,2 --number 50
""",
    "bench series": """Plant changes into a series of one place and look for them.

Four common methods look for them too. Steps, slow changes and spikes of known date and share go into the dates that are
monitored. Every method has the same masks, the same rule of K of N dates, and a threshold at which the place as it is
raises --far alarms.

\b
Examples:
  satae bench series FOLDER
  satae bench series FOLDER --history ..2018-04-26 --steady 0.7 --seed 3
""",
    "bench dates": """Compare on a scene with a mask of what changed since.

The last date is scored against all before it: two dates are enough. Prints AUROC and AP of satae, CVA and IR-MAD.

\b
Examples:
  satae bench dates before_20240601.tif after_20240712.tif --truth burnt.tif
""",
    "bench cifar10": """Compare families of autoencoders, and PCA, on CIFAR-10.

DIR holds the archives as distributed; nothing is downloaded and no pickle is run.

\b
Examples:
  satae bench cifar10 --data DIR
  satae bench cifar10 --data DIR --families cifar10_restore --task one-class
  satae bench cifar10 --data DIR --task one-class --seeds 0,1,2 --devices 0,1
""",
}
