"""What the demo's worker does."""

from __future__ import annotations

import asyncio
import gzip
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from umbel import Umbel

app = Umbel("demo")

WIDTHS = (640, 320, 128)
LINE = re.compile(
    r'\S+ \S+ \S+ \[\d+/\w+/\d+:(?P<hour>\d\d)[^]]*\] "\w+ (?P<path>\S+) [^"]*" '
    r"(?P<status>\d+) (?P<size>\d+|-)"
)


@app.task
def thumbnails(picture: str, folder: str) -> dict[str, Any]:
    """Write one picture in three smaller sizes."""
    begin = time.perf_counter()
    source = Path(picture)
    with Image.open(source) as image:
        whole = image.convert("RGB")
    written = []
    for width in WIDTHS:
        height = round(whole.height * width / whole.width)
        target = Path(folder) / f"{source.stem}-{width}{source.suffix}"
        small = whole.resize((width, height), Image.Resampling.LANCZOS)
        if source.suffix == ".png":
            small = small.quantize(64)
        small.save(target, quality=82, optimize=True)
        written.append({"file": str(target), "width": width, "bytes": target.stat().st_size})
    return {
        "picture": source.name,
        "size": list(whole.size),
        "bytes": source.stat().st_size,
        "written": written,
        "seconds": time.perf_counter() - begin,
    }


@app.task
def contact_sheet(pictures: list[str], target: str) -> dict[str, Any]:
    """Put many small pictures on one page."""
    begin = time.perf_counter()
    columns, cell = 6, (240, 160)
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * cell[0], rows * cell[1]))
    for n, picture in enumerate(pictures):
        with Image.open(picture) as image:
            tile = ImageOps.fit(image.convert("RGB"), cell)
        sheet.paste(tile, (n % columns * cell[0], n // columns * cell[1]))
    sheet.save(target, quality=88)
    return {"file": target, "size": list(sheet.size), "seconds": time.perf_counter() - begin}


@app.task
def read_log(log: str) -> dict[str, Any]:
    """Count one access log: lines, bytes by hour, status codes, paths."""
    begin = time.perf_counter()
    status: Counter[str] = Counter()
    paths: Counter[str] = Counter()
    bytes_by_hour: Counter[str] = Counter()
    lines = 0
    with gzip.open(log, "rt") as text:
        for line in text:
            match = LINE.match(line)
            if match is None:
                continue
            lines += 1
            hour, path, code, size = match.groups()
            status[code] += 1
            paths[path] += 1
            bytes_by_hour[hour] += 0 if size == "-" else int(size)
    return {
        "log": Path(log).name,
        "lines": lines,
        "status": dict(status),
        "paths": dict(paths),
        "bytes_by_hour": dict(bytes_by_hour),
        "seconds": time.perf_counter() - begin,
    }


@app.task(bind=True, max_retries=3, default_retry_delay=0.5)
def unsteady(self: Any, question: str) -> str:
    """Fail twice, as a busy service would, and answer the third time."""
    if self.request.retries < 2:
        raise self.retry(exc=ConnectionError("the service is busy"))
    return f"{question}: answered at attempt {self.request.retries + 1}"


@app.task
async def talk(guests: int) -> int:
    """Hold many conversations at once, in one coroutine task: a server and all of its guests."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        await asyncio.sleep(0.2)  # a slow host: one after the other it would take guests / 5 s
        writer.write(b"hello " + line)
        writer.close()

    async def visit(number: int, port: int) -> bool:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"%d\n" % number)
        answer = await reader.read()
        writer.close()
        return answer == b"hello %d\n" % number

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        return sum(await asyncio.gather(*(visit(number, port) for number in range(guests))))
