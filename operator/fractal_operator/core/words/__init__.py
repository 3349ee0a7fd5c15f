"""The plain words for failures: tables, a module each; failures.py looks them up."""
