"""The HTML report, and what its pair browser reads."""
