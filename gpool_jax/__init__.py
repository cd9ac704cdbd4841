"""How much position does a globally pooled vector carry, and in which channels?"""

__version__ = "0.1.0"
