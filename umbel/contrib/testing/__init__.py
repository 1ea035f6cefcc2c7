"""For tests of programs that have tasks: apps, workers in threads, waiting, mocks.

:mod:`umbel.contrib.pytest` makes fixtures of it.
"""
