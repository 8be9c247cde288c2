#!/bin/sh
# Loads a hotel's rooms and reviews: a real tap reads them, the target sends them to the built-in
# emulator of Segment, once with each API, and the resulting tables are printed. `make demo` creates
# the environments and runs this script. Nothing leaves the machine.
set -eu
cd "$(dirname "$0")/../.."

: "${TAP:=tap-jsonl}" "${TARGET:=target-segment-objects}" "${QUERY:=segment-objects query}"
here=examples/hotel
out=output/hotel

fail() {
    echo "make demo: $1" >&2
    exit 1
}

show_log_and_fail() {
    cat "$out/log" >&2
    fail "$1 (its log is above)"
}

# One sync, `tap | target`, as a scheduler runs it. A pipe hides the tap's exit status, so a file records it.
sync() {
    echo "$method: $1"
    { "$TAP" --config "$here/tap-$1.json" --catalog "$here/catalog.json" 2>"$out/tap.log" || : >"$out/tap-failed"; } |
        "$TARGET" --config "$here/target-$method.json" >"$out/state-$method-$1.jsonl" 2>"$out/log" ||
        show_log_and_fail "the target failed on $1 by method $method"
    if [ -e "$out/tap-failed" ]; then
        mv "$out/tap.log" "$out/log"
        show_log_and_fail "the tap failed on $1"
    fi
}

query() {
    $QUERY "$out/$method.duckdb" "$1" || fail "the query on $out/$method.duckdb failed"
}

tables() {
    query "select id, name, location, review_count from rooms order by id"
    echo
    query "select id, nightly_rate, host_name, host_contact_phone, amenities from rooms order by id"
    echo
    query "select id, room_id, rating, author_name, author_home_city, written_at from reviews order by id"
}

expect() {
    grep -qF "$1" "$out/tables-$method" || fail "the tables of method $method lack this row: $1"
}

rm -rf "$out"
mkdir -p "$out"
for method in set bulk; do
    sync rooms-monday
    sync rooms-tuesday
    sync reviews
    tables >"$out/tables-$method"
    echo
    cat "$out/tables-$method"
    echo
    expect '2561341 | Charming Beach Room Facing Ocean | Lihue, HI | 48'
    expect '2561342 | Quiet Garden Studio | Hilo, HI | 12'
    expect '2561343 | Loft Above the Old Bakery | Lisboa | 203'
    expect '2561344 | Cabin by the Fjord | Ålesund | 1'
    expect 'rv-9001 | 2561341 | 5.0 | Amara | Lagos | '
    expect 'rv-9002 | 2561344 | 4.5 | Jürgen | Köln | '
    expect 'rv-9003 | 2561343 | 5.0 | Yuki | '
done
cmp -s "$out/tables-set" "$out/tables-bulk" || fail "the two methods produced different tables: compare $out/tables-set and $out/tables-bulk"
echo "Both methods produced the same tables, in these DuckDB files: $out/set.duckdb and $out/bulk.duckdb"
