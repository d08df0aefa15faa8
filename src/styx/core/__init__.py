"""The deterministic core: it decides everything and touches nothing. No clock, loop, disk, network, chance or log."""
