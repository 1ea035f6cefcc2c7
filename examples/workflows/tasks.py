"""The tasks of the three workflows. ``umbel -A examples.workflows.tasks worker`` runs them."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

from umbel import Umbel, chord, group

app = Umbel(
    "workflows",
    broker=os.environ.get("EXAMPLE_BROKER"),
    backend=os.environ.get("EXAMPLE_BACKEND"),
)

# -- a log pipeline: extract | transform | load


@app.task
def extract(lines: list[str]) -> list[list[str]]:
    """Take log lines apart: moment, level, text."""
    return [line.split(" ", 2) for line in lines]


@app.task
def transform(rows: list[list[str]]) -> dict[str, int]:
    """Count the lines of each level."""
    return dict(Counter(level for _, level, _ in rows))


@app.task
def load(counts: list[dict[str, int]]) -> dict[str, int]:
    """Add the counts of all files up."""
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(sorted(total.items()))


# -- a crawler: each page adds the pages that it links to

SITE = {
    "/": ["/news", "/about"],
    "/news": ["/news/1", "/news/2", "/"],
    "/about": ["/"],
    "/news/1": ["/news/2"],
    "/news/2": [],
}


@app.task
async def fetch(page: str) -> list[str]:
    """The links of a page, which another program would get over the network."""
    return SITE[page]


@app.task(bind=True)
def crawl(self: Any, found: list[list[str]], seen: list[str]) -> list[str]:
    """Go on with the pages that nobody has seen; gives all that there are."""
    fresh = sorted({link for links in found for link in links} - set(seen))
    if not fresh:
        return sorted(seen)
    pages = [fetch.s(page) for page in fresh]
    raise self.replace(chord(pages, crawl.s(seen=[*seen, *fresh])))


# -- counting words: map, then reduce


@app.task
def count_words(text: str) -> dict[str, int]:
    """How often each word is in a text."""
    return dict(Counter(text.lower().split()))


@app.task
def most_common(counts: list[dict[str, int]], number: int) -> list[list[Any]]:
    """The words that are most frequent in all texts."""
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    ranked = sorted(total.items(), key=lambda pair: (-pair[1], pair[0]))
    return [list(pair) for pair in ranked[:number]]


# -- a large group, to watch


@app.task
def square(number: int) -> int:
    """A short task, of many."""
    return number * number


def squares(count: int) -> Any:
    """A group of any size: its members are made while they are sent."""
    return group(square.s(number) for number in range(count))
