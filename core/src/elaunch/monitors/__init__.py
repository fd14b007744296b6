"""The core's monitors: what workers say of themselves, and time limits.

What each knows is a pure book: messages and times in, findings and the next deadline
out. A thin driver sleeps until that deadline.
"""
