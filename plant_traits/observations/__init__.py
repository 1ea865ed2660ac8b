"""From raw occurrence rows to cleaned observations, their ledger and their shards."""
