"""Ways to run the whole API that the contract suite can be pointed at, one module each with
`serve`.
"""
