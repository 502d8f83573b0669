-- What `bench ledger --peer-sql` needs to run pgledger (github.com/pgr0ss/pgledger, MIT). Give it after its own files:
--   ./run bench ledger --peer-sql uuid-to-ulid.sql --peer-sql pgledger.sql --peer-sql bench/peers/pgledger.sql
CREATE TABLE bench_accounts (n integer PRIMARY KEY, id text NOT NULL);

CREATE FUNCTION bench_setup(n integer) RETURNS void LANGUAGE sql AS $$
    INSERT INTO bench_accounts SELECT g, a.id
    FROM generate_series(1, n) AS g, LATERAL pgledger_create_account('account ' || g, 'TOKEN') AS a;
$$;

CREATE FUNCTION bench_transfer(a integer, b integer, amount bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pgledger_create_transfer(
        (SELECT x.id FROM bench_accounts AS x WHERE x.n = a), (SELECT x.id FROM bench_accounts AS x WHERE x.n = b), amount);
END
$$;
