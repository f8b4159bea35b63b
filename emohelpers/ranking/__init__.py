"""Which of two photographs people prefer (notebook 08)."""
