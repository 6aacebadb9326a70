"""Tools of this repository: what generates pages of ``docs/``."""
