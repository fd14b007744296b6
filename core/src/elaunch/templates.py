"""Templates: ``{rank}`` and its like in what users write, one value for each worker."""

import re
from collections.abc import Mapping


NAMES: Mapping[str, str] = {
    "run_id": "id of the job",
    "generation": "number of the generation",
    "restart_count": "restarts spent on failures",
    "rank": "global rank",
    "local_rank": "rank on this node",
    "role_rank": "rank in its role",
    "group_rank": "rank of this node",
    "world_size": "workers in all",
    "local_world_size": "workers of this node",
    "group_world_size": "nodes in all",
    "role": "role of this node",
    "host": "host name of this node",
}
"""What a template can name, and what each name means."""

_NAME = f"({'|'.join(NAMES)})"
_FIELD = re.compile(rf"\{{\{{{_NAME}\}}\}}|\$?\{{{_NAME}\}}")


def render(template: str, names: Mapping[str, str]) -> str:
    """Return the text with every ``{name}`` replaced that is a name of a template.

    All other braces stay as they are, so that JSON and other languages' templates pass
    through. ``{{rank}}`` stands for the text ``{rank}``. ``${rank}``, as torchelastic
    writes it, is the same as ``{rank}``.

    Args:
        template: What the user wrote.
        names: Value of each of `NAMES`, as in `elaunch.api.WorkerSpec`. A name that is
            missing stays as it is.
    """

    def value(found: re.Match[str]) -> str:
        escaped, name = found.groups()
        return f"{{{escaped}}}" if escaped else names.get(name, found[0])

    return _FIELD.sub(value, template)
