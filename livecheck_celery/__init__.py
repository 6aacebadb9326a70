"""Tests that keep running inside a live system, on Celery and Redis."""
