"""Self-contained notebooks for Kaggle."""
