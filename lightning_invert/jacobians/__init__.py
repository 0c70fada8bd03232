"""From a function and points to Jacobians and their singular values, in torch alone.

``jacobian`` computes the Jacobians, ``singular_values`` decomposes them, ``lanczos`` probes those
that are too large to form, and ``spectrum`` chooses between the two.
"""
