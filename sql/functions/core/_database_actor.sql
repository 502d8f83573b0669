-- _database_actor: the namespace of idempotency keys of a caller who names no user: one per database login. Its body is
-- parsed when it is made, so it needs no search_path of its own, and without one it is inlined.
CREATE OR REPLACE FUNCTION core._database_actor() RETURNS uuid
LANGUAGE sql STABLE PARALLEL SAFE
RETURN encode(substring(sha256(convert_to('database:' || session_user, 'UTF8')) FROM 1 FOR 16), 'hex')::uuid;

COMMENT ON FUNCTION core._database_actor() IS
'The actor whose idempotency keys a database login uses when it names no user: derived from session_user.';
