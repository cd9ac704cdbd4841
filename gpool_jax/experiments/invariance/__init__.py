"""Train and measure networks under shift: AugShift and its baselines."""
