"""A program for the type checkers: every marked line is an error, and no other is."""

from umbel import Umbel

app = Umbel("typing")


@app.task
def add(x: int, y: int) -> int:
    return x + y


add.delay(2, "x")  # error
add.delay(2)  # error
add.delay(2, 2, 2)  # error
add.delay(x=2, z=2)  # error
wrong: str = add.delay(2, 2).get()  # error
add("2", 2)  # error
