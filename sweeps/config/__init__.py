"""A sweep's YAML: the schema, the strict reader, and checks that need neither torch nor Ray."""
