"""SentencePiece as tensorflow-text runs it: the tokenizer of ALBERT on TF Hub."""
