-- Partitions by month: transfers, entries and tips by the id of the transfer, outbox and audit log by their own.
--
-- What is there becomes the first partition of each (renamed and attached, not copied: one scan, to check the bound).
-- Months are those of UTC. A transfer's id and its created_at fall in the same month (core._post_one and
-- core._post_transfers see to it), so that in each wallet the partitions follow each other as its entries do.

SET LOCAL timezone = 'UTC';
-- Nobody writes meanwhile: this changes nothing and takes the lock. (LOCK TABLE asks for a right that the owner gave up.)
ALTER TABLE core.transfers OWNER TO tessera_owner;
ALTER TABLE core.entries OWNER TO tessera_owner;
ALTER TABLE core.tips OWNER TO tessera_owner;
ALTER TABLE core.outbox OWNER TO tessera_owner;
ALTER TABLE core.audit_log OWNER TO tessera_owner;

-- Times and ids

CREATE FUNCTION core._uuid_floor(p_at timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
RETURN encode(
    int8send(floor(extract(EPOCH FROM p_at) * 1000)::bigint << 16 | 28672) || '\x8000000000000000'::bytea, 'hex'
)::uuid;
COMMENT ON FUNCTION core._uuid_floor(timestamptz) IS 'The least UUID version 7 of p_at (to the millisecond).';

-- Without a pinned search_path, so that it is inlined: it runs for each transfer. Its body was resolved here.
DO $$
BEGIN
    IF current_setting('server_version_num')::integer >= 170000 THEN
        CREATE FUNCTION core._uuid_time(p_id uuid) RETURNS timestamptz
        LANGUAGE sql IMMUTABLE PARALLEL SAFE
        RETURN pg_catalog.uuid_extract_timestamp(p_id);
    ELSE
        CREATE FUNCTION core._uuid_time(p_id uuid) RETURNS timestamptz
        LANGUAGE sql IMMUTABLE PARALLEL SAFE
        RETURN timestamptz '1970-01-01 00:00:00+00'
            + ('x' || translate(left(p_id::text, 13), '-', ''))::bit(48)::bigint * interval '1 millisecond';
    END IF;
END;
$$;
COMMENT ON FUNCTION core._uuid_time(uuid) IS 'When a UUID version 7 was made, to the millisecond.';

CREATE FUNCTION core._uuid_at(p_at timestamptz) RETURNS uuid
LANGUAGE sql VOLATILE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
RETURN encode(
    substring(uuid_send(core._uuid_floor(p_at)) FROM 1 FOR 6)
    || set_byte(substring(uuid_send(gen_random_uuid()) FROM 7), 0, 112 + (random() * 15)::integer),
    'hex'
)::uuid;
COMMENT ON FUNCTION core._uuid_at(timestamptz) IS 'A new UUID version 7 of another time than now.';

GRANT EXECUTE ON FUNCTION core._uuid_floor(timestamptz), core._uuid_time(uuid), core._uuid_at(timestamptz) TO tessera_ledger;

-- What is partitioned, and how far

CREATE TABLE core.partitioned (
    name text PRIMARY KEY,
    key text NOT NULL,
    leaf_key text [],
    books boolean NOT NULL,
    keep interval NOT NULL,
    since timestamptz NOT NULL,
    attached_from timestamptz NOT NULL DEFAULT '-infinity',
    made_to timestamptz NOT NULL,
    CONSTRAINT partitioned_order CHECK (attached_from < made_to AND since <= made_to)
);
COMMENT ON TABLE core.partitioned IS 'The tables of core that are partitioned by month, and from when to when there are partitions. Written by api.make_partitions, api.detach_month and api.attach_month only.';
COMMENT ON COLUMN core.partitioned.key IS 'Column that the partitions are ranges of: a UUID version 7, or created_at.';
COMMENT ON COLUMN core.partitioned.leaf_key IS 'Primary key of each partition, where the table itself cannot have it because the column key is not in it. NULL: the table has it.';
COMMENT ON COLUMN core.partitioned.books IS 'One of those that are only detached together.';
COMMENT ON COLUMN core.partitioned.keep IS 'A month is not detached before it is over for that long.';
COMMENT ON COLUMN core.partitioned.since IS 'End of the first partition, which holds all that was there before.';
COMMENT ON COLUMN core.partitioned.attached_from IS 'Everything before it is detached.';
COMMENT ON COLUMN core.partitioned.made_to IS 'End of the last partition. What comes later goes to the default partition, until api.make_partitions has seen to it.';
GRANT SELECT ON core.partitioned TO tessera_ledger, tessera_dba;

CREATE TABLE core.partitions (
    name text PRIMARY KEY,
    table_name text NOT NULL REFERENCES core.partitioned (name),
    from_at timestamptz NOT NULL,
    to_at timestamptz NOT NULL,
    detached_to timestamptz,
    CONSTRAINT partitions_order CHECK (from_at < to_at AND to_at <= detached_to)
);
COMMENT ON TABLE core.partitions IS 'The partitions there are, attached and detached, but for the default ones. Written as core.partitioned.';
COMMENT ON COLUMN core.partitions.detached_to IS 'The partitions that were detached together, by the end of the last of them; NULL while attached.';

CREATE TABLE core.brought_forward (
    wallet_id uuid NOT NULL,
    detached_to timestamptz NOT NULL,
    seq bigint NOT NULL,
    balance bigint NOT NULL,
    earned bigint NOT NULL,
    spent bigint NOT NULL,
    last_entry_at timestamptz NOT NULL,
    CONSTRAINT brought_forward_pkey PRIMARY KEY (wallet_id, detached_to)
);
COMMENT ON TABLE core.brought_forward IS 'What detached months left in each wallet that has entries in them: the row with the latest detached_to is where the attached entries go on. Written and removed with the detaching and attaching.';
COMMENT ON COLUMN core.brought_forward.seq IS 'That of the last entry of the detached months.';
COMMENT ON COLUMN core.brought_forward.earned IS 'Sum of all credits up to then, minor units.';
COMMENT ON COLUMN core.brought_forward.spent IS 'Sum of all debits up to then, minor units, as a positive number.';

GRANT SELECT ON core.partitions, core.brought_forward TO tessera_ledger, tessera_dba;

-- Writing to a partition itself would go past the triggers of its table.

CREATE FUNCTION core._guard_partition() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'TS901',
        MESSAGE = 'LEDGER_IMMUTABLE',
        DETAIL = jsonb_build_object('table', TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME, 'operation', lower(TG_OP))::text,
        HINT = 'Partitions are written through their table, and that by the functions of schema api.';
END;
$$;
COMMENT ON FUNCTION core._guard_partition() IS 'Trigger: refuses every statement that changes a partition by its own name (TS901).';

CREATE FUNCTION core._partition_name(p_table text, p_from timestamptz) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN p_table || '_p' || to_char(p_from AT TIME ZONE 'UTC', 'YYYY_MM');
COMMENT ON FUNCTION core._partition_name(text, timestamptz) IS 'Name of the partition of a table that begins at p_from.';

CREATE FUNCTION core._attach_partition(
    p_table core.partitioned, p_partition text, p_from timestamptz, p_to timestamptz
) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_uuid CONSTANT boolean := p_table.key <> 'created_at';
BEGIN
    EXECUTE format(
        'ALTER TABLE core.%I ATTACH PARTITION core.%I %s', p_table.name, p_partition,
        CASE
            WHEN p_to IS NULL THEN 'DEFAULT'
            ELSE format(
                'FOR VALUES FROM (%s) TO (%L)',
                CASE
                    WHEN p_from = '-infinity' THEN 'MINVALUE'
                    ELSE quote_literal(CASE WHEN v_uuid THEN core._uuid_floor(p_from)::text ELSE p_from::text END)
                END,
                CASE WHEN v_uuid THEN core._uuid_floor(p_to)::text ELSE p_to::text END
            )
        END
    );
    IF p_to IS NOT NULL THEN
        INSERT INTO core.partitions AS p (name, table_name, from_at, to_at) VALUES (p_partition, p_table.name, p_from, p_to)
        ON CONFLICT (name) DO UPDATE SET detached_to = NULL;
    END IF;
    EXECUTE format(
        'COMMENT ON TABLE core.%I IS %L', p_partition,
        format('Partition of core.%s, by %s: %s.', p_table.name, p_table.key, CASE
            WHEN p_to IS NULL THEN 'what no other one takes; empty unless api.make_partitions was not run for long'
            ELSE format('%s up to %s', coalesce(nullif(p_from, '-infinity')::text, 'from the beginning'), p_to)
        END)
    );
END;
$$;
COMMENT ON FUNCTION core._attach_partition(core.partitioned, text, timestamptz, timestamptz) IS 'Attaches a table as a partition from p_from to p_to, and notes it; as the default one where p_to is NULL.';

CREATE FUNCTION core._shut_partition(p_partition text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('REVOKE ALL ON core.%I FROM tessera_ledger, tessera_app, tessera_scheduler', p_partition);
    EXECUTE format('GRANT SELECT ON core.%I TO tessera_ledger', p_partition);
    EXECUTE format('REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON core.%I FROM tessera_owner', p_partition);
    EXECUTE format(
        'CREATE OR REPLACE TRIGGER guard_partition BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON core.%I'
        ' FOR EACH STATEMENT EXECUTE FUNCTION core._guard_partition()', p_partition
    );
END;
$$;
COMMENT ON FUNCTION core._shut_partition(text) IS 'Takes away every way to write to a partition but through its table.';

CREATE FUNCTION core._new_partition(
    p_table core.partitioned, p_partition text, p_from timestamptz, p_to timestamptz
) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- made apart and then attached: that lets others go on writing, which CREATE TABLE … PARTITION OF does not
    EXECUTE format(
        'CREATE TABLE core.%I (LIKE core.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)',
        p_partition, p_table.name
    );
    IF p_table.leaf_key IS NOT NULL THEN
        EXECUTE format(
            'ALTER TABLE core.%I ADD CONSTRAINT %I PRIMARY KEY (%s)', p_partition, p_partition || '_pkey',
            (SELECT string_agg(quote_ident(c.name), ', ' ORDER BY c.ord) FROM unnest(p_table.leaf_key) WITH ORDINALITY AS c (name, ord))
        );
    END IF;
    PERFORM core._shut_partition(p_partition);
    PERFORM core._attach_partition(p_table, p_partition, p_from, p_to);
END;
$$;
COMMENT ON FUNCTION core._new_partition(core.partitioned, text, timestamptz, timestamptz) IS 'Makes a partition from p_from to p_to, with its key, guard and comment; the default one where p_to is NULL.';

CREATE FUNCTION core._make_partitions(p_ahead interval) RETURNS text []
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET lock_timeout = '2s'
AS $$
DECLARE
    c_lock CONSTANT bigint := 139166245879810;
    v_table core.partitioned;
    v_default text;
    v_partition text;
    v_index text;
    v_last timestamptz;
    v_to timestamptz;
    v_made text [] := '{}';
BEGIN
    PERFORM pg_advisory_xact_lock(c_lock);
    FOR v_table IN SELECT p.* FROM core.partitioned AS p ORDER BY p.name LOOP
        v_default := v_table.name || '_default';
        EXECUTE format(
            'SELECT %s FROM core.%I AS d ORDER BY d.%I DESC LIMIT 1',
            CASE WHEN v_table.key = 'created_at' THEN 'd.created_at' ELSE format('core._uuid_time(d.%I)', v_table.key) END,
            v_default, v_table.key
        ) INTO v_last;
        IF v_last IS NOT NULL THEN
            -- The job was away for so long that rows went to the default partition: it becomes that of their months.
            v_to := date_trunc('month', greatest(v_last, clock_timestamp()), 'UTC') + interval '1 month';
            v_partition := core._partition_name(v_table.name, v_table.made_to);
            EXECUTE format('ALTER TABLE core.%I DETACH PARTITION core.%I', v_table.name, v_default);
            EXECUTE format('ALTER TABLE core.%I RENAME TO %I', v_default, v_partition);
            FOR v_index IN
                SELECT c.relname
                FROM pg_index AS i
                INNER JOIN pg_class AS c ON c.oid = i.indexrelid
                WHERE i.indrelid = format('core.%I', v_partition)::regclass
            LOOP
                EXECUTE format('ALTER INDEX core.%I RENAME TO %I', v_index, replace(v_index, v_default, v_partition));
            END LOOP;
            PERFORM core._attach_partition(v_table, v_partition, v_table.made_to, v_to);
            PERFORM core._new_partition(v_table, v_default, NULL, NULL);
            v_made := v_made || v_partition;
            v_table.made_to := v_to;
        END IF;
        WHILE v_table.made_to < date_trunc('month', clock_timestamp() + p_ahead, 'UTC') + interval '1 month' LOOP
            v_to := v_table.made_to + interval '1 month';
            v_partition := core._partition_name(v_table.name, v_table.made_to);
            PERFORM core._new_partition(v_table, v_partition, v_table.made_to, v_to);
            v_made := v_made || v_partition;
            v_table.made_to := v_to;
        END LOOP;
        UPDATE core.partitioned AS p SET made_to = v_table.made_to WHERE p.name = v_table.name AND p.made_to < v_table.made_to;
    END LOOP;
    RETURN v_made;
END;
$$;
COMMENT ON FUNCTION core._make_partitions(interval) IS 'As the owner of the tables: what api.make_partitions does.';
GRANT EXECUTE ON FUNCTION core._make_partitions(interval) TO tessera_ledger;

-- Months that are old may go, oldest first, and come back, newest first

CREATE FUNCTION core._month_sums(p_from uuid, p_to uuid)
RETURNS TABLE (
    wallet_id uuid, seq_before bigint, seq bigint, rows bigint, balance_before bigint, balance bigint, earned bigint,
    spent bigint, last_entry_at timestamptz
)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT
        s.wallet_id, s.first_seq - 1, s.seq, s.rows, f.balance - f.amount, l.balance, s.earned, s.spent, s.last_entry_at
    FROM (
        SELECT
            e.wallet_id, min(e.seq::bigint) AS first_seq, max(e.seq::bigint) AS seq, count(*) AS rows,
            coalesce(sum(e.amount) FILTER (WHERE e.amount > 0), 0)::bigint AS earned,
            coalesce(- sum(e.amount) FILTER (WHERE e.amount < 0), 0)::bigint AS spent,
            max(e.created_at) AS last_entry_at
        FROM core.entries AS e
        WHERE e.transfer_id >= p_from AND e.transfer_id < p_to
        GROUP BY e.wallet_id
    ) AS s
    INNER JOIN core.entries AS f ON f.wallet_id = s.wallet_id AND f.seq = s.first_seq AND f.transfer_id >= p_from AND f.transfer_id < p_to
    INNER JOIN core.entries AS l ON l.wallet_id = s.wallet_id AND l.seq = s.seq AND l.transfer_id >= p_from AND l.transfer_id < p_to
$$;
COMMENT ON FUNCTION core._month_sums(uuid, uuid) IS 'What the entries of transfers from p_from up to p_to did to each wallet.';

CREATE FUNCTION core._months_fit(p_from uuid, p_to uuid, p_detached_to timestamptz) RETURNS jsonb
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_object('wallet_id', s.wallet_id, 'seq', s.seq, 'rows', s.rows, 'balance', s.balance)
    FROM core._month_sums(p_from, p_to) AS s
    FULL JOIN (SELECT b.* FROM core.brought_forward AS b WHERE b.detached_to = p_detached_to) AS n ON n.wallet_id = s.wallet_id
    LEFT JOIN LATERAL (
        SELECT b.seq, b.balance, b.earned, b.spent
        FROM core.brought_forward AS b
        WHERE b.wallet_id = coalesce(s.wallet_id, n.wallet_id) AND b.detached_to < p_detached_to
        ORDER BY b.detached_to DESC
        LIMIT 1
    ) AS o ON true
    WHERE (
        s.rows = s.seq - s.seq_before AND s.seq_before = coalesce(o.seq, 0) AND s.balance_before = coalesce(o.balance, 0)
        AND n.seq = s.seq AND n.balance = s.balance AND n.last_entry_at = s.last_entry_at
        AND n.earned = coalesce(o.earned, 0) + s.earned AND n.spent = coalesce(o.spent, 0) + s.spent
    ) IS NOT TRUE
    LIMIT 1
$$;
COMMENT ON FUNCTION core._months_fit(uuid, uuid, timestamptz) IS 'A wallet whose entries from p_from up to p_to do not lead from what was brought forward before to what was brought forward by p_detached_to; NULL when all do.';

CREATE FUNCTION core._move_month(p_what text, p_detach boolean) RETURNS text []
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET lock_timeout = '300ms'
AS $$
DECLARE
    c_lock CONSTANT bigint := 139166245879810;
    v_tables text [];
    v_keep interval;
    v_books boolean;
    v_from timestamptz;
    v_to timestamptz;
    v_low uuid;
    v_table core.partitioned;
    v_partition core.partitions;
    v_moved text [] := '{}';
    v_wrong jsonb;
BEGIN
    PERFORM pg_advisory_xact_lock(c_lock);
    SELECT array_agg(p.name), max(p.keep), bool_and(p.books), max(p.attached_from) INTO v_tables, v_keep, v_books, v_from
    FROM core.partitioned AS p
    WHERE p.name = p_what OR (p_what = 'books' AND p.books);
    IF v_tables IS NULL OR (v_books AND p_what <> 'books') THEN
        RETURN NULL;
    END IF;

    IF p_detach THEN
        -- the next moment at which a partition ends in each of the tables
        SELECT p.to_at INTO v_to
        FROM core.partitions AS p
        WHERE p.table_name = ANY (v_tables) AND p.detached_to IS NULL AND p.to_at <= clock_timestamp() - v_keep
        GROUP BY p.to_at
        HAVING count(*) = cardinality(v_tables)
        ORDER BY p.to_at
        LIMIT 1;
    ELSE
        v_to := v_from;
        SELECT coalesce(max(p.detached_to), '-infinity') INTO v_from
        FROM core.partitions AS p
        WHERE p.table_name = ANY (v_tables) AND p.detached_to < v_to;
    END IF;
    IF v_to IS NULL OR v_to = '-infinity' THEN
        RETURN v_moved;
    END IF;
    v_low := CASE WHEN v_from = '-infinity' THEN '00000000-0000-0000-0000-000000000000' ELSE core._uuid_floor(v_from) END;

    IF p_detach AND v_books THEN
        INSERT INTO core.brought_forward (wallet_id, detached_to, seq, balance, earned, spent, last_entry_at)
        SELECT
            s.wallet_id, v_to, s.seq, s.balance, s.earned + coalesce(o.earned, 0), s.spent + coalesce(o.spent, 0), s.last_entry_at
        FROM core._month_sums(v_low, core._uuid_floor(v_to)) AS s
        LEFT JOIN LATERAL (
            SELECT b.earned, b.spent
            FROM core.brought_forward AS b
            WHERE b.wallet_id = s.wallet_id
            ORDER BY b.detached_to DESC
            LIMIT 1
        ) AS o ON true;
        v_wrong := core._months_fit(v_low, core._uuid_floor(v_to), v_to);
    END IF;
    -- In the order in which money locks the tables (transfers first): money that waits for one of them then holds none of
    -- the others. Reading may have another order, so all waiting together ends before a deadlock is looked for
    -- (deadlock_timeout, 1 s): whoever moves months gives up, nobody else.
    FOR v_table IN SELECT p.* FROM core.partitioned AS p WHERE p.name = ANY (v_tables) ORDER BY p.name DESC LOOP
        FOR v_partition IN
            SELECT p.* FROM core.partitions AS p
            WHERE p.table_name = v_table.name AND p.to_at <= v_to
                AND CASE WHEN p_detach THEN p.detached_to IS NULL ELSE p.detached_to = v_to END
            ORDER BY p.from_at
        LOOP
            IF p_detach THEN
                EXECUTE format('ALTER TABLE core.%I DETACH PARTITION core.%I', v_table.name, v_partition.name);
                UPDATE core.partitions AS p SET detached_to = v_to WHERE p.name = v_partition.name;
                EXECUTE format(
                    'COMMENT ON TABLE core.%I IS %L', v_partition.name,
                    format('Detached from core.%s: %s up to %s. api.attach_month() brings it back.', v_table.name, v_partition.from_at, v_partition.to_at)
                );
            ELSE
                PERFORM core._shut_partition(v_partition.name);
                PERFORM core._attach_partition(v_table, v_partition.name, v_partition.from_at, v_partition.to_at);
            END IF;
            v_moved := v_moved || v_partition.name;
        END LOOP;
        UPDATE core.partitioned AS p SET attached_from = CASE WHEN p_detach THEN v_to ELSE v_from END WHERE p.name = v_table.name;
    END LOOP;
    IF NOT p_detach AND v_books THEN
        v_wrong := core._months_fit(v_low, core._uuid_floor(v_to), v_to);
        DELETE FROM core.brought_forward AS b WHERE b.detached_to = v_to;
    END IF;
    IF v_wrong IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'TS902', MESSAGE = 'INVARIANT_VIOLATED', DETAIL = v_wrong::text,
            HINT = 'Nothing was moved: the entries of this wallet are not what they were, or not in order. See tessera audit.';
    END IF;
    RETURN v_moved;
END;
$$;
COMMENT ON FUNCTION core._move_month(text, boolean) IS 'As the owner of the tables: what api.detach_month and api.attach_month do. NULL: there is nothing of that name.';
GRANT EXECUTE ON FUNCTION core._move_month(text, boolean) TO tessera_ledger;

-- What is there becomes the first partition

DO $$
DECLARE
    v_month CONSTANT timestamptz := date_trunc(
        'month', greatest(clock_timestamp(), (SELECT max(w.last_entry_at) FROM core.wallets AS w)), 'UTC'
    );
    v_since CONSTANT timestamptz := v_month + interval '1 month';
    v_table core.partitioned;
    v_old text;
    v_key text;
    v_next bigint;
    v_views jsonb;
    v_indexes text [];
    v_triggers text [];
    v_one record;
BEGIN
    INSERT INTO core.partitioned (name, key, leaf_key, books, keep, since, made_to) VALUES
    ('transfers', 'id', NULL, true, '13 months', v_since, v_since),
    ('entries', 'transfer_id', '{wallet_id,seq}', true, '13 months', v_since, v_since),
    ('tips', 'id', NULL, true, '13 months', v_since, v_since),
    ('outbox', 'created_at', '{xid,id}', false, '1 month', v_since, v_since),
    ('audit_log', 'id', NULL, false, '13 months', v_since, v_since);

    FOR v_table IN SELECT p.* FROM core.partitioned AS p ORDER BY p.name LOOP
        v_old := core._partition_name(v_table.name, v_month);
        -- as they read now, by the name that the new table gets
        SELECT jsonb_object_agg(v.name, pg_get_viewdef(v.oid)) INTO v_views
        FROM (
            SELECT DISTINCT c.oid, c.oid::regclass::text AS name
            FROM pg_depend AS d
            INNER JOIN pg_rewrite AS r ON r.oid = d.objid
            INNER JOIN pg_class AS c ON c.oid = r.ev_class
            WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
                AND d.refobjid = format('core.%I', v_table.name)::regclass AND c.relkind = 'v'
        ) AS v;
        SELECT array_agg(pg_get_indexdef(i.indexrelid) ORDER BY i.indexrelid) FILTER (WHERE NOT i.indisprimary) INTO v_indexes
        FROM pg_index AS i
        WHERE i.indrelid = format('core.%I', v_table.name)::regclass;

        SELECT array_agg(pg_get_triggerdef(t.oid)) INTO v_triggers
        FROM pg_trigger AS t
        WHERE t.tgrelid = format('core.%I', v_table.name)::regclass AND NOT t.tgisinternal;

        EXECUTE format('ALTER TABLE core.%I RENAME TO %I', v_table.name, v_old);
        FOR v_one IN
            SELECT c.relname AS name
            FROM pg_index AS i
            INNER JOIN pg_class AS c ON c.oid = i.indexrelid
            WHERE i.indrelid = format('core.%I', v_old)::regclass
        LOOP
            EXECUTE format('ALTER INDEX core.%I RENAME TO %I', v_one.name, replace(v_one.name, v_table.name, v_old));
        END LOOP;
        FOR v_one IN
            SELECT t.tgname AS name FROM pg_trigger AS t
            WHERE t.tgrelid = format('core.%I', v_old)::regclass AND NOT t.tgisinternal
        LOOP
            EXECUTE format('DROP TRIGGER %I ON core.%I', v_one.name, v_old);
        END LOOP;
        IF v_table.name = 'outbox' THEN
            SELECT coalesce(s.last_value, 0) + 1 INTO v_next
            FROM pg_sequences AS s
            WHERE format('%I.%I', s.schemaname, s.sequencename) = pg_get_serial_sequence(format('core.%I', v_old), 'id');
            EXECUTE format('ALTER TABLE core.%I ALTER COLUMN id DROP IDENTITY', v_old);
        END IF;

        EXECUTE format(
            'CREATE TABLE core.%I (LIKE core.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMMENTS)'
            ' PARTITION BY RANGE (%I)', v_table.name, v_old, v_table.key
        );
        EXECUTE format(
            'COMMENT ON TABLE core.%I IS %L', v_table.name, obj_description(format('core.%I', v_old)::regclass, 'pg_class')
        );
        IF v_table.leaf_key IS NULL THEN
            EXECUTE format('ALTER TABLE core.%I ADD CONSTRAINT %I PRIMARY KEY (id)', v_table.name, v_table.name || '_pkey');
        END IF;
        FOR v_one IN SELECT i.definition FROM unnest(v_indexes) AS i (definition) LOOP
            EXECUTE v_one.definition;
        END LOOP;
        IF v_table.name = 'outbox' THEN
            EXECUTE format('ALTER TABLE core.outbox ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (START WITH %s)', v_next);
        END IF;

        EXECUTE format('REVOKE ALL ON core.%I FROM tessera_owner, tessera_dba', v_table.name);
        FOR v_one IN
            SELECT a.privilege_type AS privilege, a.grantee::regrole::text AS grantee
            FROM pg_class AS c
            CROSS JOIN LATERAL aclexplode(c.relacl) AS a
            WHERE c.oid = format('core.%I', v_old)::regclass
        LOOP
            EXECUTE format('GRANT %s ON core.%I TO %s', v_one.privilege, v_table.name, v_one.grantee);
        END LOOP;

        -- their functions are tessera_ledger's, and nobody else's to use
        EXECUTE format('GRANT TRIGGER ON core.%I TO tessera_ledger', v_table.name);
        SET LOCAL ROLE tessera_ledger;
        FOR v_one IN SELECT t.definition FROM unnest(v_triggers) AS t (definition) LOOP
            EXECUTE v_one.definition;
        END LOOP;
        SET LOCAL ROLE tessera_owner;
        EXECUTE format('REVOKE TRIGGER ON core.%I FROM tessera_ledger', v_table.name);

        PERFORM core._shut_partition(v_old);
        PERFORM core._attach_partition(v_table, v_old, '-infinity', v_since);
        PERFORM core._new_partition(v_table, v_table.name || '_default', NULL, NULL);
        FOR v_one IN SELECT v.key AS name, v.value AS definition FROM jsonb_each_text(coalesce(v_views, '{}')) AS v LOOP
            EXECUTE format('CREATE OR REPLACE VIEW %s AS %s', v_one.name, v_one.definition);
        END LOOP;
    END LOOP;
    PERFORM core._make_partitions('3 months');
END;
$$;

COMMENT ON COLUMN core.entries.seq IS 'Position in the wallet''s history: 1, 2, 3… without gaps. Unique with the wallet in each partition; over all of them by the wallet''s version, under its lock, and by the auditor.';
