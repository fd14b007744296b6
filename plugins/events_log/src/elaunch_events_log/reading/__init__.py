"""Reading what the recorder `jsonl` wrote on all nodes, in one order."""
