"""The README's first example: ``umbel -A tasks worker`` here, ``add.delay(2, 2).get()`` there."""

from umbel import Umbel

app = Umbel("tasks")


@app.task
def add(x: int, y: int) -> int:
    """Add two numbers, somewhere else."""
    return x + y
