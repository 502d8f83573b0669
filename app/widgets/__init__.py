"""Files for pages of others: what browsers load from us to show what happens here. No tables."""
