"""Faces found in whole photographs."""
