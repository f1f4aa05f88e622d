"""What a volunteer installs: a worker that turns chunks of Common Crawl into shards."""

__version__ = "0.1.0"
