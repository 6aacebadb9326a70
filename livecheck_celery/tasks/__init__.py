"""The Celery face: tasks, beat entries, worker and beat lifecycle."""
