"""Small helpers that know nothing of LiveCheck."""
