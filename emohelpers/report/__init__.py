"""What a run shows: figures, facts, sentences."""
