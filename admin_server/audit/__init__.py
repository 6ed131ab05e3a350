"""The audit: who did what, in a chain of hashes that shows when it was tampered with.

Each event is hashed together with the hash before it. The last number and hash stand in
`audit_head`, and each admin keeps them in a file of its data folder as well. So whoever can write
to the database and alters, removes, swaps or adds events is found by the number of the first one
that does not fit, unless he makes every later hash and the head anew; then the file tells, up to
the event that it has. Whoever can write to both is found only by what was exported before.
"""
