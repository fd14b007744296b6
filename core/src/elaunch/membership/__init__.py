"""The membership service: one coordinator decides, every node watches."""
