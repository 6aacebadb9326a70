"""An order system on FastAPI, aiohttp and Celery, whose case has ``async def`` bodies, as one for `faust.livecheck`."""
