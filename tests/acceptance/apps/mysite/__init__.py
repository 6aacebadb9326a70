"""A project laid out as Django projects are, where every setting of Celery begins with CELERY_."""

from mysite.celery import app

__all__ = ["app"]
