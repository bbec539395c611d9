"""SentencePiece's Unigram as in ``tokenizers``: normaliser, pre-tokeniser, and the best path of pieces."""
