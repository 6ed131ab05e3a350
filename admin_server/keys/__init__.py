"""Signing keys: made, published before they sign, listed as long as their tokens live.

Keys live in table `signing_keys` of admin's database; private keys are nowhere else. The
public ones are kept in memory and in the JWKS file that every server has (`ARTSTORE_KEYS_PATH`,
`{data_dir}/keys/jwks.json` by default), so a server restarts, and admin answers GetJwks,
while the database is down.

A row without `private_key` is a key that verifies and never signs. Put one in, and every
server accepts tokens signed with its private half a few seconds later (admin reads the table
every 2 s, a server asks admin when it meets an unknown kid):

    INSERT INTO signing_keys (kid, public_key) VALUES ('elsewhere-1', '<PEM, Ed25519 or P-256>');

Delete the row to end that. A server that cannot reach admin goes by its JWKS file alone.
"""
