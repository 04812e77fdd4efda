"""Compare preference-alignment algorithms and say which one to pick."""

__version__ = "0.1.0"
