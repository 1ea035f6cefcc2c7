"""The demo: a real worker, real files, results that are checked. ``make demo``."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
OUT = HERE / "out"
PATIENCE = 60.0
"""Seconds for all of the work; it takes two or three."""


@contextmanager
def worker() -> Iterator[subprocess.Popen[bytes]]:
    """A worker of its own process, as a user would start it; ended with TERM."""
    command = [sys.executable, "-m", "umbel", "-A", "examples.demo.tasks", "worker"]
    options = ["--concurrency", "2", "--loglevel", "INFO"]
    print(f"$ umbel {' '.join(command[3:] + options)} &")
    with (OUT / "worker.log").open("wb") as log:
        process = subprocess.Popen(command + options, cwd=ROOT, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def follow(results: Sequence[Any], process: subprocess.Popen[bytes]) -> None:
    """Show how many are done until all are."""
    deadline = time.monotonic() + PATIENCE
    shown = -1
    while shown < len(results):
        done = sum(result.ready() for result in results)
        if done != shown:
            progress(done, len(results))
            shown = done
        if process.poll() is not None:
            raise SystemExit(f"the worker ended by itself:\n{(OUT / 'worker.log').read_text()}")
        if time.monotonic() > deadline:
            missing = [result.id for result in results if not result.ready()]
            raise SystemExit(f"not done after {PATIENCE:.0f} s: {missing}")
        time.sleep(0.02)


def progress(done: int, total: int) -> None:
    """One line that fills up; on something that is no terminal, one line at the end."""
    if sys.stdout.isatty():
        bar = ("#" * (40 * done // total)).ljust(40, ".")
        print(f"\r  [{bar}] {done}/{total} tasks", end="\n" if done == total else "", flush=True)
    elif done == total:
        print(f"  {done}/{total} tasks done")


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns, as wide as they need to be."""
    cells = [list(headings), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headings))]
    print()
    for n, row in enumerate(cells):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(f"  {line.rstrip()}")
        if n == 0:
            print("  " + "  ".join("-" * width for width in widths))


def show_pictures(done: Sequence[Mapping[str, Any]]) -> None:
    """A row per picture."""
    rows = []
    for one in done:
        small = "  ".join(f"{file['width']}px {file['bytes'] // 1024}k" for file in one["written"])
        width, height = one["size"]
        ms = f"{one['seconds'] * 1000:.0f} ms"
        rows.append((one["picture"], f"{width}x{height} {one['bytes'] // 1024}k", small, ms))
    table(("picture", "original", "thumbnails", "time"), rows)


def show_log(counted: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The day in numbers; returns what can be checked."""
    status: Counter[str] = Counter()
    paths: Counter[str] = Counter()
    bytes_by_hour: Counter[str] = Counter()
    for part in counted:
        status.update(part["status"])
        paths.update(part["paths"])
        bytes_by_hour.update(part["bytes_by_hour"])
    rows = [(part["log"], part["lines"], f"{part['seconds'] * 1000:.0f} ms") for part in counted]
    table(("access log", "lines", "time"), rows)
    table(("status", "requests"), sorted(status.items()))
    table(("most wanted", "requests"), paths.most_common(5))
    most = max(bytes_by_hour.values())
    bars = [
        (f"{hour}h", f"{size / 1e6:6.1f} MB", "#" * (40 * size // most))
        for hour, size in sorted(bytes_by_hour.items())
    ]
    table(("hour", "sent", ""), bars)
    return {
        "lines": sum(part["lines"] for part in counted),
        "bytes": sum(bytes_by_hour.values()),
        "status": dict(sorted(status.items())),
        "top_path": list(paths.most_common(1)[0]),
    }


def work(process: subprocess.Popen[bytes]) -> list[str]:
    """Send everything, wait for it, show it; returns what is wrong."""
    # The state directory must be set before the app looks for its queue.
    from examples.demo.tasks import contact_sheet, read_log, talk, thumbnails, unsteady

    pictures = sorted(str(path) for path in (HERE / "pictures").iterdir())
    logs = sorted(str(path) for path in (HERE / "logs").glob("*.gz"))
    begin = time.perf_counter()
    small = thumbnails.apply_many([(picture, str(OUT)) for picture in pictures])
    counted = read_log.apply_many([(log,) for log in logs])
    patient = unsteady.delay("is anybody there")
    lively = talk.delay(50)
    everything = [*small, *counted, patient, lively]
    print(f"  sent {len(everything)} tasks in {(time.perf_counter() - begin) * 1000:.0f} ms")
    follow(everything, process)
    thumbs = [result.get(timeout=PATIENCE) for result in small]
    sheet = contact_sheet.delay(
        [one["written"][1]["file"] for one in thumbs], str(OUT / "contact-sheet.jpg")
    ).get(timeout=PATIENCE)
    seconds = time.perf_counter() - begin

    show_pictures(thumbs)
    found = show_log([result.get(timeout=PATIENCE) for result in counted])
    rows = [
        ("contact_sheet", f"{sheet['size'][0]}x{sheet['size'][1]} page of all pictures"),
        ("unsteady", patient.get(timeout=PATIENCE)),
        ("talk (async def)", f"{lively.get(timeout=PATIENCE)} conversations at once"),
    ]
    table(("also", "result"), rows)
    print(f"\n  {len(everything) + 1} tasks in {seconds:.1f} s; files in {OUT.relative_to(ROOT)}/")
    return wrong(thumbs, found, patient, lively)


def wrong(
    thumbs: Sequence[Mapping[str, Any]], found: object, patient: Any, lively: Any
) -> list[str]:
    """Everything that is not as it must be."""
    truth = json.loads((HERE / "logs" / "truth.json").read_text())
    missing = [
        file["file"]
        for one in thumbs
        for file in one["written"]
        if Path(file["file"]).stat().st_size != file["bytes"]
    ]
    claims = {
        "24 pictures": len(thumbs) == 24,
        "every thumbnail on disk": not missing,
        "the log's statistics": found == truth,
        "two retries": patient.get(timeout=PATIENCE).endswith("attempt 3"),
        "fifty conversations": lively.get(timeout=PATIENCE) == 50,
    }
    return [claim for claim, holds in claims.items() if not holds]


def main() -> int:
    """Run the demo; 0 when everything came out right."""
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    # A queue of the demo's own, so that an interrupted run leaves nothing to the next one.
    os.environ["UMBEL_STATE_DIR"] = str(OUT / "state")
    with worker() as process:
        problems = work(process)
    if process.returncode != 0:
        problems.append(f"the worker ended with {process.returncode}, see {OUT / 'worker.log'}")
    print("  all checked, the worker has ended" if not problems else f"WRONG: {problems}")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
