"""HTTP clients, instrumented to carry the current test to other services."""
