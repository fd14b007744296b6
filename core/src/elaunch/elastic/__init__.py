"""The names of ``torch.distributed.elastic``, module by module.

Whoever imports from there can import from here instead: each name is elaunch's own
thing of that purpose. ``docs/migrating-from-torchrun.md`` lists them, with those that
have another name, and those that are left out, and why.
"""
