import os

CELERY_BROKER_URL = os.environ["SHOP_URL"]
CELERY_IMPORTS = ("mysite.checks",)
CELERY_LIVECHECK_PREFIX = "mysite"
CELERY_LIVECHECK_QUEUE = "checks"
CELERY_LIVECHECK_SCHEDULE_QUEUE = "checks.schedule"
CELERY_LIVECHECK_FREQUENCY = 1.0

SECRET_KEY = "of Django's own"
ROOT_URLCONF = "mysite.urls"
ALLOWED_HOSTS = ["*"]
MIDDLEWARE = ["livecheck_celery.integrations.django.LiveCheckMiddleware"]
