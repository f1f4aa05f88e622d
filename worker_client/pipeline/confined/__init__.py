"""The decoder's own process: Pillow and the standard library, nothing else of the worker.

`python -m worker_client.pipeline.confined` is started by `decode_process`, with an empty
environment; strangers' pictures are opened here and nowhere else.
"""
