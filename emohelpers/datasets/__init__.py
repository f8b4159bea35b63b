"""What is learned from: faces, songs and photographs as tables with pixels, split without leaks."""
