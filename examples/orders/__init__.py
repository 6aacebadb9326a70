"""A small order system that tests itself while it runs.

A Flask web app takes orders (:mod:`orders.web`), a Celery worker stores, indexes and executes them
(:mod:`orders.tasks`), and a LiveCheck case watches real orders pass through (:mod:`orders.checks`).
"""
