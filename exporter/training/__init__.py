"""Fine-tuning: from labelled text to a Hugging Face folder that :func:`..export.export` takes.

:mod:`.finetune` runs the steps in order. :mod:`.preparation` reads and checks rows (:mod:`.data` and :mod:`.labels`;
with tags :mod:`.tagged` and :mod:`.tags`), and tokenizes them with the graph that will be served (:mod:`.batches`,
:mod:`.spans`). The packed encoder is trained with a head (:mod:`.model`, :mod:`.optimizer`, :mod:`.loop`). The state
for a continuation is on disk (:mod:`.states`), and the best epoch is the folder's model (:mod:`.folder`).
:mod:`.answers`, :mod:`.metrics` and :mod:`.report` evaluate it.
"""
