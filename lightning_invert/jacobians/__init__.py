"""From a function and points to what its Jacobians say, in torch alone.

``jacobian`` finds the Jacobians (``pullback`` is why it is fast), ``singular_values`` decomposes
them, ``lanczos`` does without them where they are large, ``spectrum`` chooses between the two.
"""
