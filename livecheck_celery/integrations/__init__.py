"""Integrations that a host names in its configuration: Django middleware, ``install()`` for a Celery app."""
