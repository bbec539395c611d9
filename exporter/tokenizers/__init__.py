"""Tokenizers in the graph: from the rules of a checkpoint's tokenizer to a TensorFlow graph with the same tokens.

:mod:`.tokenizer` composes them; each kind of tokenizer has a folder (such as :mod:`.wordpiece`); shared code is in this
folder. The import does not load TensorFlow, so that reading a checkpoint's rules does not.
"""
