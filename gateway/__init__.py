"""What runs on a gateway: one agent that observes the machine, decides and acts, and its units.

The deciding modules are pure (generations, peers, state, decide, firewall, health, keys.judge);
observe, act and the modules that talk to AWS hold the effects. Debian's boto3 and
prometheus-client, otherwise the standard library; nothing of Pulumi.
"""
