"""Servers of etcd on this host: one, or several that make a cluster."""
