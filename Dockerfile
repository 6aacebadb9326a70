FROM python:3.13-slim@sha256:9662417aace5ae7b8e2609cce472b72a8958e134ba372808abe9cc1a0c0125e6

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
