"""Meters that are not there: state, time and answers, behind real sockets and pseudo-terminals."""
