"""SentencePiece's Unigram as ``tokenizers`` does it: normaliser, pre-tokeniser, and the best path of pieces."""
