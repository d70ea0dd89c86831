"""How a change reaches AWS: previews, reports on GitHub, rotations, and what they stand on."""
