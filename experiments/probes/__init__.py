"""Commands that train nothing: judge sanity, separation, reward probe, imports."""
