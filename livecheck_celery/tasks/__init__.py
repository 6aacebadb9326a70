"""LiveCheck on Celery: tasks, beat entries, worker and beat lifecycle."""
