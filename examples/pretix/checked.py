import checks  # noqa: F401 - declares the cases
from pretix.celery_app import app  # noqa: F401 - for celery -A checked
