"""How a lease is kept, over either API of etcd.

Of 20 s, which are trusted for 16, an eighth is over when an outage of 10 s begins; 3 s
are left for the pause and the attempt that are under way at its end.
"""

RENEWALS = 8
"""How often it is renewed in one time to live: as often as a lease of `c10d`."""

TRUSTED = 0.8
"""Part of its time to live for which a renewal counts: who has none for longer must
stop its workers before the others hear that the lease is over."""
