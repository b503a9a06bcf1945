"""A rehearsal of scale=paper on a CPU: stand-ins for the hub's repositories, a judge server, and checks of values."""
