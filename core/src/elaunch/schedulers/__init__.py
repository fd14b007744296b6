"""The schedulers that the core knows: each a table of variables and what they mean."""
