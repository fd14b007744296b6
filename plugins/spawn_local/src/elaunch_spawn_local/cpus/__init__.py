"""Which CPUs each worker may use."""
