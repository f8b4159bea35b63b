"""What runs notebooks: command line, batches, pages, bundles. Rooms never import it."""
