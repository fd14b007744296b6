"""Rendezvous backend `etcd-v2`: the job's membership lives in an etcd cluster."""
