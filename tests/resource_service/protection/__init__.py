"""The protection package, against issuers that behave and issuers that do not."""
