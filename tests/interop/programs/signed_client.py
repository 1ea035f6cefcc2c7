"""A client of either side that signs; says what came of three calls."""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module

side, queue = sys.argv[1:]
app = import_module(f"{side}_signed").app
seconds = float(os.environ["INTEROP_PATIENCE"])

added = app.send_task("interop.add", (2, 3), queue=queue)
failed = app.send_task("interop.fail", ("no",), queue=queue)
unsigned = app.send_task("interop.record", (sys.argv[0], 1), queue=queue, serializer="json")
answers = [added.get(timeout=seconds), repr(failed.get(timeout=seconds, propagate=False))]
last = app.send_task("interop.side", queue=queue).get(timeout=seconds)
print(json.dumps([*answers, last, unsigned.state]))
