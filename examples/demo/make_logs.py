"""Writes the access logs of the demo: one made-up day of a made-up shop, in six files.

python -m examples.demo.make_logs
"""

from __future__ import annotations

import gzip
import json
import math
import random
from collections import Counter
from pathlib import Path

FOLDER = Path(__file__).parent / "logs"
LINES = 180_000
FILES = 6
PRODUCTS = 400
AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/142.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
    "Mozilla/5.0 (compatible; ExampleBot/2.1; +https://bot.example/about)",
)


def busy(second: int) -> float:
    """How busy the shop is at a second of the day: quiet at four, busiest in the evening."""
    hour = second / 3600
    return 1.2 + math.sin(math.tau * (hour - 10) / 24) + 0.5 * math.exp(-((hour - 20) ** 2) / 4)


def moments(rng: random.Random) -> list[int]:
    """When each request comes, in order."""
    weights = [busy(minute * 60) for minute in range(24 * 60)]
    minutes = rng.choices(range(24 * 60), weights, k=LINES)
    return sorted(minute * 60 + rng.randrange(60) for minute in minutes)


def request(rng: random.Random) -> tuple[str, str, int, int]:  # noqa: PLR0911 - a table of kinds
    """Method, path, status and bytes of one request."""
    product = int(PRODUCTS * rng.random() ** 3) + 1
    kind = rng.random()
    if kind < 0.35:
        return "GET", f"/product/{product}", 200, 18_000 + 7 * product
    if kind < 0.60:
        status = rng.choices((200, 304), (2, 1))[0]
        return "GET", f"/static/img/{product}.webp", status, 0 if status == 304 else 61 * product
    if kind < 0.75:
        return "GET", "/", 200, 24_310
    if kind < 0.85:
        return "GET", f"/search?page={rng.randrange(1, 6)}", 200, 9000 + 500 * rng.randrange(20)
    if kind < 0.93:
        return "POST", "/cart", 302, 0
    if kind < 0.97:
        return "POST", "/checkout", rng.choices((201, 402, 500), (90, 8, 2))[0], 812
    return "GET", f"/{rng.choice(('wp-login.php', 'robots.txt', '.env', 'old-shop'))}", 404, 153


def main() -> None:
    """Write the files, and beside them what is in them, for the demo to be checked by."""
    rng = random.Random(2026)
    visitors = [f"203.0.113.{n}" for n in range(256)] + [f"198.51.100.{n}" for n in range(256)]
    lines_by_file: dict[int, list[str]] = {n: [] for n in range(FILES)}
    status_counts: Counter[str] = Counter()
    path_counts: Counter[str] = Counter()
    total = 0
    for second in moments(rng):
        method, path, status, size = request(rng)
        clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
        visitor = visitors[int(512 * rng.random() ** 2)]
        agent = AGENTS[int(4 * rng.random() ** 1.5)]
        lines_by_file[second * FILES // 86_400].append(
            f"{visitor} - - [17/Nov/2026:{clock} +0000] "
            f'"{method} {path} HTTP/1.1" {status} {size or "-"} "-" "{agent}"\n'
        )
        status_counts[str(status)] += 1
        path_counts[path] += 1
        total += size
    FOLDER.mkdir(exist_ok=True)
    for number, lines in lines_by_file.items():
        # No time stamp inside, so that the same program writes the same bytes.
        packed = gzip.compress("".join(lines).encode(), 9, mtime=0)
        (FOLDER / f"access-{number * 24 // FILES:02}h.log.gz").write_bytes(packed)
    truth = {
        "lines": LINES,
        "bytes": total,
        "status": dict(sorted(status_counts.items())),
        "top_path": path_counts.most_common(1)[0],
    }
    (FOLDER / "truth.json").write_text(json.dumps(truth, indent=2) + "\n")


if __name__ == "__main__":
    main()
