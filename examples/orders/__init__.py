"""A small order system with a LiveCheck case; `livecheck demo` runs it.

A Flask web app receives orders (:mod:`orders.web`), a Celery worker stores, indexes and executes them
(:mod:`orders.tasks`), and a LiveCheck case tests real orders (:mod:`orders.checks`).
"""
