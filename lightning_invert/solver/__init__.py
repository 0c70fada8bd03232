"""Find inputs for wanted outputs, in torch alone.

A ``query`` holds ``model``, ``targets``, bounds, ``starts`` and ``cost``. ``least_squares``
reaches the targets and ``descent`` lowers the cost, both by the steps of ``bounded_step``; ``ranking``
orders what the starts led to, and makes a ``solution`` of it.
"""
