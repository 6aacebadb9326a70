"""Kill processes and servers while tests run, then check that every test has exactly one verdict: ``make chaos``."""
