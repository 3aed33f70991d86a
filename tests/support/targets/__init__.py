"""The targets of the contract suite: each module runs the whole API in one way, by `serve`."""
