"""The application over HTTP, on a real database."""
