-- _user_channels: the event channels of up to two users.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._user_channels(p_first uuid, p_second uuid) RETURNS text []
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT array_remove(ARRAY['user:' || p_first::text, 'user:' || p_second::text], NULL)
$$;

COMMENT ON FUNCTION core._user_channels(uuid, uuid) IS 'Channels user:<id> of both, leaving out who is NULL (the owner of a system wallet).';
