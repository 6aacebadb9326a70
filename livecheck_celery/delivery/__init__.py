"""Carry triggers and signals out of a request, to Redis and the broker."""
