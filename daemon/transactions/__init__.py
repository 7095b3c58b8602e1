"""One file per cause: load the state of many points or accounts, call a pure rule, write its rows,
commit."""
