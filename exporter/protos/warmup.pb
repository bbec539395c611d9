
¤
warmup.prototensorflow.serving"&

PredictLog
request (Rrequest"P
PredictionLog?
predict_log (2.tensorflow.serving.PredictLogR
predictLogbproto3