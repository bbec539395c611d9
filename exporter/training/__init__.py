"""Fine-tuning: from labelled text to a Hugging Face folder that :func:`..export.export` takes.

:mod:`.finetune` runs the steps in order. Rows are read and checked (:mod:`.data`, :mod:`.labels`), tokenized by the
graph that will be served, and batched (:mod:`.batches`). The packed encoder is trained with a head (:mod:`.model`,
:mod:`.optimizer`, :mod:`.loop`). Every state that counts is on disk (:mod:`.states`), and the best epoch is the
folder's model (:mod:`.folder`). :mod:`.metrics` and :mod:`.report` say how good it is.
"""
