"""Chat templates, generation, facts about architectures, availability on the hub, and sentence embeddings."""
