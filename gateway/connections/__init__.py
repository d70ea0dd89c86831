"""The connection log: who reached what, from the kernel's connection tracking. docs/audit.md.

A process of its own: a flood of connections takes processor time from nobody who serves clients.
It reads what the kernel tells and the peers that the agent keeps on disk, and changes nothing.
"""
