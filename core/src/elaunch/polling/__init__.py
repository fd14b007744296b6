"""What `PollingStore` is made of: leases and watches for backends that have neither."""
