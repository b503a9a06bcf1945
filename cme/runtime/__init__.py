"""Files and locks, signals, and runs of several processes."""
