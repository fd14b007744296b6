"""Torchelastic's rendezvous interface, whose calls block, and what works with it.

`handler` and `parameters` are that interface, `registry` finds plugins that implement
it, `adapter` makes one of them our port, with `ranks` and `failing` for what it must
do itself. `collectives` is what members of a group do over a store that blocks.
"""
