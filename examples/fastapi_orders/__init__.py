"""An order system on FastAPI, httpx and Celery: a test follows an order over two HTTP hops and three Celery hops."""
