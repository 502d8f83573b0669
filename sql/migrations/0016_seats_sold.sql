-- Tickets are counted on every stream. Whoever cancels a stream under an old snapshot is then told so (40001), as its row
-- has changed, instead of missing the tickets sold meanwhile.

UPDATE core.streams AS s SET seats_sold = t.tickets
FROM (
    SELECT
        k.stream_id,
        count(*)::integer AS tickets
    FROM core.tickets AS k
    GROUP BY k.stream_id
) AS t
WHERE s.id = t.stream_id AND s.seats_sold <> t.tickets;
COMMENT ON COLUMN core.streams.seats_sold IS 'Tickets sold.';
