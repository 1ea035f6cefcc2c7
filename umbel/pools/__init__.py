"""Where requests run: in this thread, in threads, on the loop, in processes."""
