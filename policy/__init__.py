"""What a stack must never be, checked at every preview: a CrossGuard pack (docs/policy.md).

Each rule is a plain function in a module of its own; nothing but `wiring` knows Pulumi's engine.
"""
