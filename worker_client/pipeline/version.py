"""The version of what extraction and screening make of a page."""

#: In every manifest. Two workers of the same version find the same pairs in the same chunk; raise
#: it with every change of their output (a test over fixed pages fails until then).
FILTER_VERSION = "1"
