"""`python -m worker_client` is `laion-worker`."""

from worker_client.cli import main

if __name__ == "__main__":
    main()
