"""The pure core: everything that is decided, and nothing that is done. Read decide.py first."""
