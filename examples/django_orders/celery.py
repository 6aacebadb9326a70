"""The Celery app of the Django project."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_orders.settings")

app = Celery("django_orders")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
