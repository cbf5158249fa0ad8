"""Fetch OpenLayers from npm into satae/review/web/vendor: python scripts/vendor_openlayers.py [VERSION]

Needs npm. What the page needs of the package is copied unchanged; bundled.txt holds the licences of what is built into
it, and openlayers.json says which version it is, under which licence, and the SHA-256 of each file.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

VENDOR = Path(__file__).resolve().parent.parent / "satae" / "review" / "web" / "vendor"
FILES = {"dist/ol.js": "ol.js", "ol.css": "ol.css", "LICENSE.md": "LICENSE.md"}


def main(version: str) -> None:
    """Replace the vendored files by those of a version, such as 10.11.0 or latest."""
    with tempfile.TemporaryDirectory() as folder:
        quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        subprocess.run(["npm", "install", f"ol@{version}", "--prefix", folder, *quiet], check=True)
        modules = Path(folder, "node_modules")
        about = json.loads((modules / "ol" / "package.json").read_text())
        content = {name: (modules / "ol" / inside).read_bytes() for inside, name in FILES.items()}
        content["bundled.txt"] = bundled(modules).encode()
    VENDOR.mkdir(parents=True, exist_ok=True)
    for name, text in content.items():
        (VENDOR / name).write_bytes(text)
    hashes = {name: hashlib.sha256(text).hexdigest() for name, text in content.items()}
    record = {"package": "ol", "version": about["version"], "license": about["license"], "sha256": hashes}
    (VENDOR / "openlayers.json").write_text(json.dumps(record, indent=2) + "\n")
    print(f"ol {about['version']} ({about['license']}), {sum(map(len, content.values()))} bytes")


def bundled(modules: Path) -> str:
    """Name, version, licence and its text of every package that came with OpenLayers."""
    parts = []
    for package in sorted(modules.glob("**/package.json")):
        about = json.loads(package.read_text())
        above = package.parent.parent
        own = above.name == "node_modules" or above.name.startswith("@")
        if own and about.get("name") != "ol" and not about["name"].startswith("@types/"):
            texts = [
                p.read_text().strip() for p in sorted(package.parent.glob("[Ll][Ii][Cc][Ee][Nn][SsCc][Ee]*"))
            ]
            head = f"{about['name']} {about['version']}, {about.get('license', 'no licence stated')}"
            parts.append("\n\n".join([head, *texts]))
    return ("\n\n" + "-" * 80 + "\n\n").join(parts) + "\n"


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "latest")
