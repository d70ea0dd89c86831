"""A name of your own for a gatepair stack's endpoint, and who of your people may change its peers.

Give the gatepair stack the same name as `gatepair:endpoint`, which is what new client configs dial;
the name can later lead to another stack. The roles are yours, made elsewhere.
"""

import pulumi
from pulumi_aws import iam, route53

config = pulumi.Config()
gatepair = pulumi.StackReference(config.require("gatepairStack"))

# The load balancer's addresses are fixed, so they need no alias; a client takes either
route53.Record(
    "endpoint",
    zone_id=config.require("zoneId"),
    name=config.require("name"),
    type="A",
    ttl=60,
    records=gatepair.require_output("addresses"),
)

policies = gatepair.require_output("operatorPolicies")
for role in config.require_object("peerAdmins"):
    iam.RolePolicyAttachment(
        f"peer-admin-{role}",
        role=role,
        policy_arn=policies.apply(lambda arns: arns["peer-admin"]),
    )

pulumi.export("dial", config.require("name"))
