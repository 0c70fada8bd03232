"""Propose inputs for any function with known points, and tell how far to rely on them; torch alone.

``evidence`` keeps known points; ``reliability`` models the function's errors by them; ``proposer`` asks
the solver and makes a ``proposal``, or a ``trade_off`` of cost against tolerance.
"""
