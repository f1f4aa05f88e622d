"""From a chunk of an archive to a shard: source, extract, screen, download, decode, score, shard.

`chain.run_chunk` strings the stages together. torch and open_clip are imported by `score*` alone,
and those only when there is something to score.
"""
