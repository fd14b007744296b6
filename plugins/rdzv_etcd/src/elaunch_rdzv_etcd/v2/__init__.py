"""Over etcd's v2 API: keys with a time to live, in directories."""
