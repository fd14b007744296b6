"""Over etcd's v3 API: leases, transactions and watches from a revision."""
