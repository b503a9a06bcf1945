"""The pipeline of one cell and its stages."""
