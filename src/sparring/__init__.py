"""Sparring: train, check and use process reward models."""

__version__ = "0.1.0"
