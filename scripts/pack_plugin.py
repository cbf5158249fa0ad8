"""Pack the plugin for QGIS: python scripts/pack_plugin.py [ZIP]

The same files give the same bytes. In QGIS: Plugins > Manage and Install Plugins > Install from ZIP.
"""

import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLUGIN, FOLDER = ROOT / "satae" / "gis" / "plugin", "satae_processing"
KINDS = {".py", ".txt", ".svg"}


def main(target: Path) -> None:
    """Write the archive, with the plugin's files and the licence below one folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    files = [*sorted(p for p in PLUGIN.iterdir() if p.suffix in KINDS), ROOT / "LICENSE"]
    with zipfile.ZipFile(target, "w") as archive:
        for path in files:
            entry = zipfile.ZipInfo(f"{FOLDER}/{path.name}")  # dated 1980, so that the bytes repeat
            entry.create_system, entry.external_attr, entry.compress_type = (
                3,
                0o644 << 16,
                zipfile.ZIP_DEFLATED,
            )
            archive.writestr(entry, path.read_bytes())
    print(f"{target}: {len(files)} files, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist" / f"{FOLDER}.zip")
