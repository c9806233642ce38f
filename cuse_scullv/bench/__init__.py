"""The benchmark `cuse-scullv bench`: this server beside others that do the same, in one run.

    command -> suites/*  what is compared: cases, and contenders that can measure a case
            -> rounds    measures every case with every contender, again and again, interleaved
            -> figures   medians and ratios -> table, report (JSON), plot

A contender owns its server; the clients are client.c, built on the spot (programs) as are the
examples of libfuse that serve as peers. Nothing is pinned to a CPU but the hogs.
"""
