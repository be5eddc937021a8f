"""`make bench`: what the project claims about speed, start and memory, each figure beside a baseline.

A machine's speed drifts, so every claim is a ratio to a bare server measured in the same minutes: rounds are
interleaved, and the median counts. Servers run on one core and the load generator (wrk) on another, over loopback.
"""
