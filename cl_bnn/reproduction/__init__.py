"""The JSON configurations of the reproduction study (prateekstark/training-binary-neural-network)
as ordinary runs: what is in them (`keys`), what it means here (`meaning`), the runs (`runs`).
"""
