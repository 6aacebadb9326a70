"""Django settings of a host that stores its schedule in a database."""

import os

INSTALLED_APPS = ["django_celery_beat"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["KEEPER_DATABASE"]}}
SECRET_KEY = "of Django's own"
USE_TZ = True
TIME_ZONE = "UTC"
