"""What a sweep and its judging would cost."""
