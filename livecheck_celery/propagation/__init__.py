"""Propagation of the current test between processes, over Celery, HTTP, OpenTelemetry and other transports."""
