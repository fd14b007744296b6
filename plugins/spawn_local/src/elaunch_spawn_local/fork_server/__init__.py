"""The fork server: a small process of its own that is the parent of a node's workers.

It forks each worker on request, tells of each end, and is the one to whom the kernel
gives whatever of a worker's family lost its parent (a *subreaper*). So it knows every
process of the job on this node, wherever that one went, and when the agent is gone,
however it went, it ends them all and then itself.

Started as a program it knows the standard library only; with modules to preload it
imports them once and forks Python workers that have them already. `client` is the
agent's side, all else is the server's.
"""
