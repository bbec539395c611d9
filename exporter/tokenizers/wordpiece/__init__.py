"""BERT's WordPiece tokenizer in a graph."""
