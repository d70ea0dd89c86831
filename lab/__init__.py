"""The local cloud: moto as the control plane, and the data plane that moto lacks."""
