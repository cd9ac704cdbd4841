"""Tries to make the program lose or falsify something: `python -m tests.campaign`.

Each part is a module with `run(place, count, rng) -> Tally`.
"""
