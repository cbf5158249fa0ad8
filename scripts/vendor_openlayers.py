"""Fetch OpenLayers from npm into satae/web/vendor: python scripts/vendor_openlayers.py [VERSION]

Needs npm. What the page needs of the package is copied unchanged; openlayers.json says which version it is, under
which licence, and the SHA-256 of each file.
"""

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VENDOR = Path(__file__).resolve().parent.parent / "satae" / "web" / "vendor"
FILES = {"package/dist/ol.js": "ol.js", "package/ol.css": "ol.css", "package/LICENSE.md": "LICENSE.md"}


def main(version: str) -> None:
    """Replace the vendored files by those of a version, such as 10.11.0 or latest."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", f"ol@{version}", "--silent", "--pack-destination", folder]
        archive = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]
        with tarfile.open(Path(folder, archive)) as packed:
            content = {name: packed.extractfile(inside).read() for inside, name in FILES.items()}
            about = json.load(packed.extractfile("package/package.json"))
    VENDOR.mkdir(parents=True, exist_ok=True)
    for name, text in content.items():
        (VENDOR / name).write_bytes(text)
    hashes = {name: hashlib.sha256(text).hexdigest() for name, text in content.items()}
    record = {"package": "ol", "version": about["version"], "license": about["license"], "sha256": hashes}
    (VENDOR / "openlayers.json").write_text(json.dumps(record, indent=2) + "\n")
    print(f"ol {about['version']} ({about['license']}): {sum(map(len, content.values()))} bytes in {VENDOR.name}/")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "latest")
