"""Install pip where neither ensurepip nor pip came with Python: straight from the package index."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path

INDEX = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
SIMPLE_JSON = "application/vnd.pypi.simple.v1+json"


def newest_wheel() -> str:
    """The address of the last wheel the index lists; it lists them in order of version."""
    page = f"{INDEX}/pip/"
    request = urllib.request.Request(page, headers={"Accept": SIMPLE_JSON})  # noqa: S310 - an index
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - the user's own index
        files = json.load(answer)["files"]
    wheels = [file["url"] for file in files if file["url"].endswith(".whl") and not file["yanked"]]
    return urllib.parse.urljoin(page, wheels[-1])


def main() -> None:
    """Fetch the wheel and let it install itself: a wheel of pip can be run."""
    address = newest_wheel()
    with tempfile.TemporaryDirectory() as folder:
        wheel = Path(folder) / address.rpartition("/")[2]
        urllib.request.urlretrieve(address, wheel)  # noqa: S310 - the user's own index
        subprocess.run([sys.executable, f"{wheel}/pip", "install", "pip"], check=True)


if __name__ == "__main__":
    main()
