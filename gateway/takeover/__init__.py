"""A client's session that lands on another gateway goes on there within a round trip.

packets, recipients   what the kernel reports, and whose it is
desk                  who holds which session, and what follows from what is seen and heard (pure)
journal, words        the same told to the other gateways until all have it
rules, kernel_sets    the packet filter's part: it notes and it reports
nflog, watch          reading those reports; the thread in which all of this happens
kick, resume          TCP that has stalled meanwhile is told to try again at once
mover                 what the main thread then does to WireGuard
hub                   where these threads meet
"""
