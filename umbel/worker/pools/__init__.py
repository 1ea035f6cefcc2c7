"""The pool that a worker runs its tasks in."""
