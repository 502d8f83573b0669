-- update_stream: a creator changes what they have announced.
-- Locks    the stream; buyers of its tickets wait for it and it for them
-- Decides  that it is p_actor's and has not ended; the form of the changes; that no seat is taken from who has a ticket
-- Writes   streams, outbox 'stream.updated'; nothing where nothing is different
-- Errors   TS101 INVALID_REQUEST, TS211 USER_NOT_FOUND, TS218 STREAM_NOT_FOUND, TS328 STREAM_ENDED, TS331 SEATS_SOLD,
--          TS502 USER_SUSPENDED, TS505 NOT_STREAM_OWNER
CREATE OR REPLACE FUNCTION api.update_stream(p_stream uuid, p_changes jsonb, p_actor uuid DEFAULT NULL)
RETURNS SETOF api.streams
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c_fields CONSTANT text[] := ARRAY[
        'title', 'visibility', 'ticket_price', 'seats', 'starts_at', 'sales_from', 'sales_to'
    ];
    v_old core.streams := core._open_stream(p_stream, p_actor);
    v_new core.streams;
    v_field text;
BEGIN
    IF jsonb_typeof(p_changes) = 'object' THEN
        SELECT k.name INTO v_field FROM jsonb_object_keys(p_changes) AS k (name) WHERE k.name <> ALL (c_fields) LIMIT 1;
    ELSE
        v_field := 'changes';
    END IF;
    IF v_field IS NULL THEN
        BEGIN
            v_new := jsonb_populate_record(v_old, p_changes);
            v_new.title := btrim(v_new.title);
            v_field := core._stream_fault(
                v_new.title, v_new.visibility, v_new.ticket_price, v_new.seats, v_new.starts_at, v_new.sales_from, v_new.sales_to
            );
        EXCEPTION WHEN data_exception THEN
            v_field := 'changes';
        END;
    END IF;
    IF v_field IS NOT NULL THEN
        PERFORM core._refuse_stream(v_field, 'Nothing was changed.');
    ELSIF v_new.seats < v_new.seats_sold THEN
        PERFORM core._raise(
            'TS331', 'SEATS_SOLD',
            jsonb_build_object('stream_id', p_stream, 'seats', v_new.seats, 'seats_sold', v_new.seats_sold), 'Nothing was changed.'
        );
    END IF;
    IF v_new IS DISTINCT FROM v_old THEN
        UPDATE core.streams AS s
        SET
            title = v_new.title, visibility = v_new.visibility, ticket_price = v_new.ticket_price, seats = v_new.seats,
            starts_at = v_new.starts_at, sales_from = v_new.sales_from, sales_to = v_new.sales_to, updated_at = clock_timestamp()
        WHERE s.id = p_stream;
        PERFORM core._stream_event('stream.updated', p_stream);
    END IF;
    RETURN QUERY SELECT s.* FROM api.streams AS s WHERE s.stream_id = p_stream;
END;
$$;

COMMENT ON FUNCTION api.update_stream(uuid, jsonb, uuid) IS
'Changes the fields of stream p_stream that the object p_changes names: title, visibility, ticket_price, seats, starts_at, sales_from, sales_to; null takes away the last four. Never fewer seats than tickets sold. Tickets sold stay paid for at the price they had, also when the stream becomes public. p_actor must be its creator where named.';
