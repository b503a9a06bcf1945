"""Chat templates, generation, access to the hub, and sentence embeddings."""
