"""Links between the documents lead somewhere, and so do their anchors."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def documents() -> list[Path]:
    """Every Markdown file that people read."""
    top = [ROOT / name for name in ("README.md", "CHANGELOG.md")]
    return top + sorted(
        path for folder in ("docs", "examples") for path in (ROOT / folder).rglob("*.md")
    )


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as code hosts make them."""
    found = set()
    for heading in HEADING.findall(path.read_text()):
        kept = re.sub(r"[^\w\- ]", "", heading.lower())
        found.add(kept.strip().replace(" ", "-"))
    return found


def broken(path: Path) -> Iterator[str]:
    """Every link of one document that leads nowhere."""
    for link in LINK.findall(path.read_text()):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        there = (path.parent / target).resolve() if target else path
        name = path.relative_to(ROOT)
        if not there.exists():
            yield f"{name}: no file behind {link}"
        elif anchor and there.suffix == ".md" and anchor not in anchors(there):
            yield f"{name}: no heading behind {link}"


def main() -> int:
    """Say which links are broken; 1 when one is."""
    found = [complaint for path in documents() for complaint in broken(path)]
    print("\n".join(found) or "every link leads somewhere")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
