"""The routed mode's routes: which gateway the VPC's route tables send clients' return traffic to.

Each route table has one route for the clients' pool, to one gateway. Who that is, an item of the
registry says (registry.items.RouteHold); whoever it names is alone to write that route. `decide` is
pure; `cloud` makes the calls, and its docstring lists them; `watch` is the thread.
"""
