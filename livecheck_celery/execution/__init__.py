"""Run one execution on a worker."""
