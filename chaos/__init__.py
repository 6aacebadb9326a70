"""Kills everything while tests run, and then proves that each test had exactly one verdict: ``make chaos``."""
