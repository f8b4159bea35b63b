"""From squares of pixels to batches: preprocessing, augmentation, targets."""
