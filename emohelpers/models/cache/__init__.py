"""Activations of frozen layers that are kept."""
