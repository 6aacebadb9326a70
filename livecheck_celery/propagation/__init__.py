"""How the current test crosses a hop: from one Celery task to another, and over HTTP."""
