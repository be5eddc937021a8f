"""The suite. It mirrors the tree; `protocol/` goes by RFC, `contract/` joins both services over HTTP."""
