"""A Django project, whose Celery settings have the prefix CELERY_."""

from mysite.celery import app

__all__ = ["app"]
