"""Install pip where neither ensurepip nor pip came with Python: straight from the package index."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path

LOCK = Path(__file__).parent.parent / "uv.lock"


def index() -> str:
    """The index that pip is told to use, else the one that the lock file names."""
    [locked] = set(re.findall(r'registry = "([^"]+)"', LOCK.read_text()))
    return os.environ.get("PIP_INDEX_URL", locked).rstrip("/")


INDEX = index()
FINAL_WHEEL = re.compile(r'href="([^"#]*/pip-(\d+(?:\.\d+)+)-py3-none-any\.whl)')
"""A link to a release that is final, and its version."""


def newest_wheel() -> str:
    """The address of the newest release the index lists."""
    page = f"{INDEX}/pip/"
    request = urllib.request.Request(page, headers={"Accept": "text/html"})  # noqa: S310 - an index
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - the user's own index
        links = FINAL_WHEEL.findall(answer.read().decode())
    if not links:
        raise SystemExit(f"{page} lists no wheel of pip; set PIP_INDEX_URL to an index that does")
    newest = max(links, key=lambda link: [int(part) for part in link[1].split(".")])
    return urllib.parse.urljoin(page, newest[0])


def main() -> None:
    """Fetch the wheel and let it install itself: a wheel of pip can be run."""
    address = newest_wheel()
    with tempfile.TemporaryDirectory() as folder:
        wheel = Path(folder) / address.rpartition("/")[2]
        urllib.request.urlretrieve(address, wheel)  # noqa: S310 - the user's own index
        subprocess.run([sys.executable, f"{wheel}/pip", "install", "pip"], check=True)


if __name__ == "__main__":
    main()
