"""Records from disk, as data frames and with their display names."""
