"""outputs/index.html."""
