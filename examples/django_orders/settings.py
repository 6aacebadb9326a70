"""The Django settings."""

import os

REDIS_URL = os.environ.get("ORDERS_REDIS_URL", "redis://localhost:6379/0")

SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "only-for-trying-it-out")
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
INSTALLED_APPS = ["django_orders"]
MIDDLEWARE = ["livecheck_celery.integrations.django.LiveCheckMiddleware"]
ROOT_URLCONF = "django_orders.web"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("ORDERS_DATABASE", "orders.sqlite3"),
    },
}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}}

CELERY_BROKER_URL = REDIS_URL
CELERY_TASK_DEFAULT_QUEUE = "orders"
CELERY_TASK_IGNORE_RESULT = True
