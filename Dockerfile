FROM python:3.13-slim

WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY livecheck_celery livecheck_celery
COPY examples examples
RUN pip install --no-cache-dir ".[demo]"

# Add your modules with cases here, or in an image of your own that is built on this one.
ENV PYTHONPATH=/app/examples PYTHONUNBUFFERED=1
RUN useradd --create-home livecheck && install -d -o livecheck /var/lib/livecheck /var/lib/orders
USER livecheck

CMD ["celery", "-A", "livecheck_celery", "worker", "--loglevel", "INFO"]
