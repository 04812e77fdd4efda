"""What the commands do, one file each; `harness/cli.py` has their names and options."""
