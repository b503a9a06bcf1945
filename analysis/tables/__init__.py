"""Tables, computed from records."""
