"""An order system on Flask and Celery: a test follows an order over two HTTP hops and three Celery hops."""
