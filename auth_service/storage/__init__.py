"""The auth service's database: tables, queries, migrations, behind the ports of `model`.

SQLAlchemy Core, the same statements on SQLite and PostgreSQL. Decides nothing: what may happen is said in `model` and
`identity` and `keys`. Only `app.py` and `cli.py` import it. Instants are stored as seconds since the epoch in double
precision, exactly as the clock gave them; random secrets are stored as hashes, private keys sealed.
"""
