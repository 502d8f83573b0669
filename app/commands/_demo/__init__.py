"""The parts of `tessera demo` that are stories of their own."""
