"""The embedded data sets, drawn and played by code: no download, no licence, everything about each of them known."""
