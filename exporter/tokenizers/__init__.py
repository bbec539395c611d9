"""Tokenizers in the graph: rules of a checkpoint's own tokenizer to a TensorFlow graph with the same tokens.

:mod:`.tokenizer` composes them; a folder a kind of tokenizer (:mod:`.wordpiece`); what they share lies here. Importing
this loads no TensorFlow: reading a checkpoint's rules must not.
"""
