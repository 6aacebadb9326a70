"""A Django service that imports no case: it saves a user with a password, publishes a task, and serves a route."""

import os
import sys

import django
from celery import Celery
from django.conf import settings

settings.configure(
    SECRET_KEY="of Django's own",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["GUARDED_DATABASE"]}},
    MIDDLEWARE=["livecheck_celery.integrations.django.LiveCheckMiddleware"],
    PASSWORD_HASHERS=["django.contrib.auth.hashers.PBKDF2PasswordHasher"],
)
django.setup()

from django.contrib.auth.models import User  # noqa: E402 - models need settings
from django.core.management import call_command  # noqa: E402 - as above
from django.core.wsgi import get_wsgi_application  # noqa: E402 - as above
from django.http import HttpRequest, JsonResponse  # noqa: E402 - as above
from django.urls import path  # noqa: E402 - as above

from livecheck_celery import current_test  # noqa: E402 - as above
from livecheck_celery.integrations.celery import install  # noqa: E402 - as above

app = Celery("guarded", broker=os.environ["SHOP_URL"], set_as_current=False)
app.conf.update(task_default_queue="guarded", task_always_eager=False)
livecheck = install(app)
call_command("migrate", verbosity=0)


@app.task(name="guarded.mail", shared=False)
def mail(address: str) -> str:
    """Return what a task must not send."""
    return f"task-result of {address}"


def register(request: HttpRequest, number: str) -> JsonResponse:
    """Register a user, whose first name and mail address are secrets of the service."""
    user = User(username=f"user-{number}", first_name="first-name-secret", email="mail-secret@example.com")
    user.set_password("x")
    user.save()
    mail.apply(args=["task-argument-secret"])
    mail.delay("task-argument-secret")
    test = current_test()
    return JsonResponse({"test": test and test.id})


def modules(request: HttpRequest) -> JsonResponse:
    """List the modules that the process has imported."""
    return JsonResponse({"modules": sorted(sys.modules)})


urlpatterns = [path("register/<str:number>/", register), path("modules/", modules)]
wsgi = get_wsgi_application()
