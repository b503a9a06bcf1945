"""The only place that knows both the configuration and the library."""
