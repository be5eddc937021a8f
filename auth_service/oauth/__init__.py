"""Protocol vocabulary: pure values of OAuth 2.1, no input or output, no framework.

Owns the registered error codes, the resources and their scopes, and the authentication context classes. Knows no
account, no key and no database.
"""
