"""The command line `gpool`: one file per group of commands, `main` dispatches."""
