"""HTTP clients that carry the current test to other services."""
