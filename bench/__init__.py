"""The benches: what the design promises, measured in the lab. `bench/NAME.py --json`, one each."""
