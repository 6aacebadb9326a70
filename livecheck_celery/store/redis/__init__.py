"""Redis clients: one server, Sentinel, cluster."""
