"""An app that notes every signal, the same for both sides: ``TOLD_SIDE`` says which."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

import click

side = os.environ["TOLD_SIDE"]
root = importlib.import_module(side)
signals = importlib.import_module(f"{side}.signals")
Signal = {"celery": "celery.utils.dispatch.signal", "umbel": "umbel.signals"}[side]
Signal = importlib.import_module(Signal).Signal

app = (root.Celery if side == "celery" else root.Umbel)(
    "told", broker=os.environ["TOLD_REDIS"], backend=os.environ["TOLD_REDIS"]
)
app.conf.update(accept_content=["json"], task_default_queue=f"told-{side}", worker_concurrency=1)
app.conf.beat_schedule_filename = os.environ["TOLD_FILE"] + ".schedule"
app.user_options["preload"].add(click.Option(["--look"], default="plain"))
app.user_options["worker"].add(click.Option(["--colour"], default="red"))


KINDS = (
    (bool, "truth"),
    ((int, float), "number"),
    (str, "text"),
    ((list, tuple), "sequence"),
    (dict, "mapping"),
    (BaseException, "exception"),
    (type(None), "none"),
)


def kind(value: Any) -> str:
    """What a receiver may do with it."""
    for types, name in KINDS:
        if isinstance(value, types):  # type: ignore[arg-type]
            return name
    return "task" if hasattr(value, "apply_async") and hasattr(value, "name") else "object"


def note(signal: Any = None, sender: Any = None, **named: Any) -> None:
    kinds = {name: kind(value) for name, value in named.items()}
    said = {"signal": names[id(signal)], "sender": kind(sender), "args": kinds}
    # Opened each time: Celery's scheduler closes what it has not opened itself.
    with Path(os.environ["TOLD_FILE"]).open("a") as notes:
        notes.write(json.dumps(said) + "\n")


names = {id(each): name for name, each in vars(signals).items() if isinstance(each, Signal)}
for _name, _each in list(vars(signals).items()):
    # Whoever receives setup_logging takes the place of the others of logging.
    if isinstance(_each, Signal) and (_name == "setup_logging") == bool(os.getenv("TOLD_LOGGING")):
        _each.connect(note, weak=False)


class Unlucky(app.Task):  # type: ignore[misc, name-defined]
    def on_failure(self, *_: Any) -> None:
        raise RuntimeError("not even this")


@app.task(name="told.good")
def good(number: int) -> int:
    return number


@app.task(name="told.bad")
def bad() -> None:
    raise ValueError("no luck")


@app.task(name="told.flaky", bind=True)
def flaky(self: Any) -> None:
    if not self.request.retries:
        raise self.retry(exc=ConnectionError("not yet"), countdown=0)


@app.task(name="told.unlucky", base=Unlucky)
def unlucky() -> None:
    raise ValueError("no luck")


@app.task(name="told.publish")
def publish() -> None:
    good.delay(2)
