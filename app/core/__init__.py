"""What all domains share: settings-driven plumbing, the database, errors, auth, paging, batching, logging."""
