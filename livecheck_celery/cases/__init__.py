"""Declared by users: cases, signals, triggers."""
