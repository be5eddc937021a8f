"""Who is calling: accounts, their names and passwords, and the sessions that a sign-in opens.

Owns the rules for names and passwords, the hashing pool, and the life of accounts and sessions. Knows no HTTP and no
token claims (`tokens` builds those), and not how anything is stored: work in a transaction is a plain function of
`model.storage.Records`. Slow work (hashing) is never done inside a transaction.
"""
