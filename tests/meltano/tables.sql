-- Columns of a real database: every type that a Segment column cannot hold unchanged.

CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');

CREATE TABLE everything (
    id bigint PRIMARY KEY,
    doc jsonb, notes json, tags text[], grid integer[][],
    amount numeric(12, 4), huge numeric, ratio double precision, single real, small smallint,
    at timestamptz, plain timestamp, day date, clock time,
    token uuid, raw bytea, flag boolean, feeling mood, code char(5), title varchar(40), body text
);
INSERT INTO everything VALUES
    (1, '{"a": {"b": [1, 2.5, null]}, "é": "naïve"}', '{"k":  "v"}', '{tea,"green, tea",NULL}', '{{1,2},{3,4}}',
     12345678.9012, 12345678901234567890.5, 0.1, 0.5, -32768,
     '2026-02-03 04:05:06.789012+02', '2026-02-03 04:05:06.5', '2026-02-28', '23:59:58',
     'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '\xdeadbeef00', true, 'happy', 'ab', 'A "quoted" title', E'two\nlines\ttab 🎉'),
    (9007199254740993, '[]', 'null', '{}', '{}',
     -0.0001, 0, 1e300, -1.5, 32767,
     '1969-12-31 23:59:59.999999+00', '1999-12-31 23:59:59', '0001-01-01', '00:00:00',
     '00000000-0000-0000-0000-000000000000', '', false, 'sad', 'abcde', '', ''),
    (-3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
     NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO everything (id, doc, tags, amount, at, token, raw, flag, body)
SELECT n, jsonb_build_object('n', n, 'half', n / 2.0), ARRAY['t' || n, NULL], n * 1.25, timestamptz '2026-01-01 00:00Z' + n * interval '1 hour',
       md5(n::text)::uuid, decode(md5(n::text), 'hex'), n % 2 = 0, repeat('x', n)
FROM generate_series(100, 499) AS n;

-- Names as created by an ORM or a spreadsheet.
CREATE TABLE "Guest Book" ("GuestId" integer PRIMARY KEY, "Guest Name" text, "HomeTown" text, "2nd visit" boolean);
INSERT INTO "Guest Book" SELECT n, 'Guest ' || n, CASE WHEN n % 3 = 0 THEN NULL ELSE 'Town ' || n END, n % 2 = 0 FROM generate_series(1, 150) AS n;

-- A key of several columns, one of which is text that contains the separator of ids.
CREATE TABLE order_lines (order_id bigint, sku text, quantity integer, price numeric(10, 2), PRIMARY KEY (order_id, sku));
INSERT INTO order_lines SELECT n / 4, 'sku:' || n % 4 || '\', n % 7, n / 8.0 FROM generate_series(1, 600) AS n;

-- No key, and duplicate rows: Segment merges identical ones.
CREATE TABLE page_visits (seen_at timestamptz, page text, milliseconds integer);
INSERT INTO page_visits SELECT timestamptz '2026-03-01 00:00Z' + n % 200 * interval '1 minute', '/page/' || n % 10, n % 200 FROM generate_series(1, 300) AS n;

CREATE TABLE nothing_yet (id integer PRIMARY KEY, name text);

CREATE VIEW spending AS
SELECT order_id, sum(quantity * price)::double precision AS total, count(*) AS lines FROM order_lines GROUP BY order_id;

-- Replicated incrementally, with enough rows for a state within the table.
CREATE TABLE bookings (id bigint PRIMARY KEY, changed_at timestamptz NOT NULL, guest text, nights integer, paid numeric(10, 2));
INSERT INTO bookings
SELECT n, timestamptz '2026-04-01 00:00Z' + n * interval '1 second', 'guest ' || n % 90, n % 14, n / 4.0 FROM generate_series(1, 18000) AS n;
