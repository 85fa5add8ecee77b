#!/usr/bin/env python3
"""Describes a release for `sublet update sign`: release.py FOLDER VERSION URL [MINIMUM] > release.json

FOLDER holds its packages, URL is where they will lie. The rollout begins with one node in a hundred, and reaches all
within a week; a release that is described and signed again later takes the place of this one, and may go slower, or stop.
"""

import hashlib
import json
import re
import sys
import time
from pathlib import Path

HOUR = 3_600_000
DAY = 24 * HOUR
# Hours after it is described, and the nodes of ten thousand that may have it from then on.
STAGES = [(0, 100), (24, 1_000), (72, 5_000), (144, 10_000)]
ARCHES = {"amd64": "amd64", "x86_64": "amd64", "x64": "amd64", "arm64": "arm64", "aarch64": "arm64"}
KINDS = {".deb": "deb", ".rpm": "rpm", ".AppImage": "app_image", ".dmg": "dmg", ".msi": "msi"}


def package(path, url):
    kind = KINDS.get(path.suffix)
    arch = re.search("|".join(ARCHES), path.name)
    if kind is None or arch is None:
        return None
    headless = path.name.startswith("sublet") and not path.name.startswith("sublet-desktop")
    data = path.read_bytes()
    return {
        "name": "sublet" if headless and kind in ("deb", "rpm") else "sublet-desktop",
        "kind": kind,
        "arch": ARCHES[arch.group()],
        "url": f"{url}/{path.name}",
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def main(folder, version, url, minimum="0.0.0"):
    now = int(time.time() * 1000)
    packages = [package(path, url) for path in sorted(Path(folder).iterdir()) if path.is_file()]
    json.dump(
        {
            "version": version,
            "channel": "stable",
            "minimum": minimum,
            "packages": [found for found in packages if found],
            "rollout": [{"at": now + hours * HOUR, "cursor": cursor} for hours, cursor in STAGES],
            "issued": now,
            "expires": now + 90 * DAY,
        },
        sys.stdout,
        indent=2,
    )


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    main(*sys.argv[1:])
