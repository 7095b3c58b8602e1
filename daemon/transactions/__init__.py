"""One file per cause: load the state of many, call a pure rule, write its rows, commit."""
