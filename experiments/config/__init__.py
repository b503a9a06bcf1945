"""The configuration: schema, validation, identity, and the composition of grids."""
