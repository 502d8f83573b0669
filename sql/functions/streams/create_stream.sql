-- create_stream: a creator announces a stream.
-- Locks    nothing
-- Decides  that p_creator is a creator who may act; the form of the rest
-- Writes   streams, outbox 'stream.created'
-- Errors   TS101 INVALID_REQUEST, TS212 CREATOR_NOT_FOUND, TS329 CHANNEL_TAKEN
CREATE OR REPLACE FUNCTION api.create_stream(
    p_creator uuid,
    p_title text,
    p_channel text,
    p_visibility text DEFAULT 'public',
    p_ticket_price bigint DEFAULT NULL,
    p_seats integer DEFAULT NULL,
    p_starts_at timestamptz DEFAULT NULL,
    p_sales_from timestamptz DEFAULT NULL,
    p_sales_to timestamptz DEFAULT NULL
) RETURNS SETOF api.streams
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_id uuid;
    v_price CONSTANT bigint := coalesce(
        p_ticket_price, (SELECT c.ticket_price FROM core.creator_settings AS c WHERE c.user_id = p_creator), 0
    );
    v_field text := coalesce(
        core._stream_fault(p_title, p_visibility, v_price, p_seats, p_starts_at, p_sales_from, p_sales_to),
        CASE WHEN (p_channel ~ '^[a-z0-9][a-z0-9_-]{2,62}$') IS NOT TRUE THEN 'channel' END
    );
BEGIN
    IF v_field IS NOT NULL THEN
        PERFORM core._refuse_stream(v_field, 'Nothing was created.');
    ELSIF NOT EXISTS (
        SELECT FROM core.users AS u WHERE u.id = p_creator AND u.status = 'active' AND 'creator' = ANY (u.roles)
    ) THEN
        PERFORM core._raise('TS212', 'CREATOR_NOT_FOUND', jsonb_build_object('creator_id', p_creator), 'Nothing was created.');
    END IF;
    INSERT INTO core.streams (
        creator_id, title, channel, visibility, ticket_price, seats, starts_at, sales_from, sales_to
    )
    VALUES (p_creator, btrim(p_title), p_channel, p_visibility, v_price, p_seats, p_starts_at, p_sales_from, p_sales_to)
    ON CONFLICT (channel) DO NOTHING
    RETURNING id INTO v_id;
    IF v_id IS NULL THEN
        PERFORM core._raise('TS329', 'CHANNEL_TAKEN', jsonb_build_object('channel', p_channel), 'Choose another name.');
    END IF;
    PERFORM core._stream_event('stream.created', v_id);
    RETURN QUERY SELECT s.* FROM api.streams AS s WHERE s.stream_id = v_id;
END;
$$;

COMMENT ON FUNCTION api.create_stream(uuid, text, text, text, bigint, integer, timestamptz, timestamptz, timestamptz) IS
'Announces a stream of creator p_creator on the channel p_channel, whose name nobody else has. p_visibility private: only who has a ticket may watch, at p_ticket_price tokens (0: free; NULL: the creator''s usual price, which is none where they have set none), p_seats of them at most (NULL: any number), sold from p_sales_from up to p_sales_to.';
