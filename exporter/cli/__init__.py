"""The exporter's sub-commands of ``rawbert``, a file each; the table of them is in rawbert.serving.cli.app."""
