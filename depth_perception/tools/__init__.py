"""The depth-perception command line, one file per sub-command."""
