from pretix.settings import *  # noqa: F403

MIDDLEWARE = ["livecheck_celery.integrations.django.LiveCheckMiddleware", *MIDDLEWARE]  # noqa: F405
