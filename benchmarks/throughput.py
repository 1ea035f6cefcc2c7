"""Tasks per second: sending one by one, sending many at once, draining with results stored.

No-op tasks, the producer, Redis and a worker with two processes on the same machine. A queue is
filled first, then a worker is started on it; the drain is clocked from the first stored result
to the last, so that starting up counts for nobody. Systems take turns, round by round. With
``-rabbitmq`` behind its name a system sends over RabbitMQ, and keeps results in Redis; with
``-confirmed`` behind that Celery waits for confirmations, as umbel always does.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import time
from collections.abc import Callable

import redis

from benchmarks.setting import (
    private_redis,
    produce,
    publish,
    somewhere,
    table,
    url_of,
    wait_until,
    worker,
)
from umbel.testing.servers import rabbitmq_server

RABBITMQ_COUNT_BY_SYSTEM = {"celery": 3000, "umbel": 40_000}
COUNT_BY_SYSTEM = {"celery": 3000, "umbel": 100_000, "dramatiq": 8000, "taskiq": 8000, "huey": 8000}
"""A few seconds' worth each."""
ELSEWHERE = ("umbel-sqlite", "celery-rabbitmq", "celery-rabbitmq-confirmed", "umbel-rabbitmq")
ONE_BY_ONE = 3000
SQLITE_COUNT = 50_000
PATIENCE = 120.0
"""Seconds a drain may take."""

Figures = dict[str, list[float]]


def stored(client: redis.Redis, system: str) -> Callable[[], int]:
    """How to count the results that are in Redis."""
    if system == "huey":
        return lambda: int(client.hlen("huey.results.bench"))
    # Nothing else grows with the number of results: messages lie in one list or one hash.
    before = int(client.dbsize())
    return lambda: int(client.dbsize()) - before


def clock_drain(count: Callable[[], int], total: int) -> float:
    """Tasks per second from the first stored result to the last."""
    wait_until(lambda: count() > 0, seconds=PATIENCE, what="the first result")
    first, begin = count(), time.monotonic()
    done = first
    deadline = begin + PATIENCE
    # The last few per mille would clock the worker's idle polls and the queue's bookkeeping keys.
    while done < total * 0.99 and time.monotonic() < deadline:
        time.sleep(0.005)
        done = count()
    if done < total * 0.99:
        raise SystemExit(f"only {done} of {total} results after {PATIENCE} s")
    return (done - first) / (time.monotonic() - begin)


def on_redis(system: str, client: redis.Redis, figures: Figures) -> None:
    """One round of one system."""
    url = url_of(client)
    total = COUNT_BY_SYSTEM[system]
    client.flushall()
    figures.setdefault("one", []).append(produce(system, url, "one", ONE_BY_ONE)["rate"])
    client.flushall()
    figures.setdefault("many", []).append(produce(system, url, "many", total)["rate"])
    count = stored(client, system)
    with worker(system, url):
        figures.setdefault("drain", []).append(clock_drain(count, total))


def on_rabbitmq(system: str, figures: Figures) -> None:
    """One round of a system that sends over RabbitMQ and keeps results in Redis."""
    name = system.partition("-")[0]
    confirmed = system.endswith("-confirmed")
    total = RABBITMQ_COUNT_BY_SYSTEM[name]
    with private_redis() as client, rabbitmq_server() as server:
        url, broker = url_of(client), server.url()
        sent = produce(name, url, "one", ONE_BY_ONE, broker=broker, confirmed=confirmed)
        figures.setdefault("one", []).append(sent["rate"])
        sent = produce(name, url, "many", total, broker=broker, confirmed=confirmed)
        figures.setdefault("many", []).append(sent["rate"])
        count = stored(client, name)
        with worker(name, url, broker=broker):
            figures.setdefault("drain", []).append(clock_drain(count, ONE_BY_ONE + total))


def on_sqlite(figures: Figures) -> None:
    """One round of umbel on one file."""
    with somewhere("umbel-sqlite") as (_, url):
        figures.setdefault("one", []).append(produce("umbel", url, "one", ONE_BY_ONE)["rate"])
        figures.setdefault("many", []).append(produce("umbel", url, "many", SQLITE_COUNT)["rate"])
        database = sqlite3.connect(url.removeprefix("sqlite:///"))
        table_name = results_table(database)

        def count() -> int:
            query = f"select count(*) from {table_name}"
            [(rows,)] = database.execute(query).fetchall()
            return int(rows)

        with worker("umbel", url):
            figures.setdefault("drain", []).append(clock_drain(count, ONE_BY_ONE + SQLITE_COUNT))
        database.close()


def results_table(database: sqlite3.Connection) -> str:
    """The table of results, whatever the driver calls it."""
    query = "select name from sqlite_master where type = 'table' and name like '%result%'"
    names = sorted(name for (name,) in database.execute(query))
    if not names:
        raise SystemExit("the SQLite file has no table of results")
    return str(names[0])


def report(figures: dict[str, Figures]) -> str:
    """Medians, spread and ratios to Celery."""
    rows = []
    for system, measured in figures.items():
        row = [system]
        reference = figures.get("celery-rabbitmq" if "rabbitmq" in system else "celery", {})
        for what, base in (("one", "one"), ("many", "one"), ("drain", "drain")):
            rates = measured[what]
            rate = statistics.median(rates)
            ratio = ""
            if reference:
                ratio = f" ({rate / statistics.median(reference[base]):.1f}x)"
            row.append(f"{rate:,.0f}{ratio} [{min(rates):,.0f}..{max(rates):,.0f}]")
        rows.append(row)
    text = table(["tasks/s", "one by one", "many at once", "drain, results stored"], rows)
    return text + (
        "\n\nIn brackets: times Celery's on the same broker (many at once: Celery's one by one); "
        "the spread."
    )


def main() -> None:
    """Measure the systems asked for, round by round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("systems", nargs="*", default=[*COUNT_BY_SYSTEM, *ELSEWHERE])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    figures: dict[str, Figures] = {system: {} for system in options.systems}
    for _ in range(options.rounds):
        for system in options.systems:
            if system == "umbel-sqlite":
                on_sqlite(figures[system])
                continue
            if "-rabbitmq" in system:
                on_rabbitmq(system, figures[system])
                continue
            with private_redis() as client:
                on_redis(system, client, figures[system])
    publish("throughput", figures, report(figures))


if __name__ == "__main__":
    main()
