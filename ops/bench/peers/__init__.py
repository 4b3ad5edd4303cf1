"""The other ways to score a stream, each written as its own documentation advises.

Every one is a program with one argument, a job as JSON (`ops.bench.job.Job`). It reads the job's
events from the beginning, decodes every one, scores it with the same ONNX file, and writes an
answer (`model.ANSWER`) with the event's key. Only the standard library, NumPy, fastavro and
onnxruntime are there besides the peer itself.
"""
