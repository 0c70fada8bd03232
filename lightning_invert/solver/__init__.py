"""Inputs for wanted outputs, in torch alone.

``asked`` reads the arguments into a ``model``, ``targets`` and a ``cost``; ``starts`` says where to
begin; ``least_squares`` reaches the targets and ``descent`` lowers the cost, both by the steps of
``bounded_step``; ``ranking`` makes a ``solution`` of it.
"""
