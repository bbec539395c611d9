"""The exporter's sub-commands of ``rawbert``, one module each; their table is in rawbert.serving.cli.app."""
