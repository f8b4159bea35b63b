"""Leak-free data, honest comparison and speed for the emotion notebooks."""

__version__ = "0.1.0"
