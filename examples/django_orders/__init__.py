"""An order system on Django and Celery: a test follows an order over two HTTP hops and three Celery hops."""
