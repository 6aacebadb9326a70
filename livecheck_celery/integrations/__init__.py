"""What applications name in their own configuration: Django's ``MIDDLEWARE``, or a call on a Celery app."""
