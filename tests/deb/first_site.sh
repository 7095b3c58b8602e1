#!/bin/bash
# The first site of the README, typed by a user without rights on a machine that has the package only. Ends with
# the balance on its last line. The site stays in $1.
set -euo pipefail
cp -r /usr/share/doc/meterd/examples "$1"
cd "$1"

meterd simulate bench.toml >bench.log 2>&1 &
bench=$!
trap 'kill -INT $bench $daemon 2>/dev/null; wait $bench $daemon' EXIT
daemon=
until grep -q 'control port' bench.log; do kill -0 "$bench"; sleep 0.2; done
meterd check -c meterd.toml
meterd read --tcp 127.0.0.1:7101 --meter 000000001101
meterd read --serial /tmp/meterd-house-bus-1 --meter 000000003101 --quantity freeze
meterd run -c meterd.toml >daemon.log 2>&1 &
daemon=$!
until grep -q "event=ready" daemon.log 2>/dev/null; do kill -0 "$daemon" || { cat daemon.log; exit 1; }; sleep 0.5; done
for _ in $(seq 600); do
    left=$(meterd gaps -c meterd.toml 2>&1 >/dev/null | tail -1) || true
    [ "${left%%,*}" = "0 missing" ] && break
    sleep 1
done
meterd gaps -c meterd.toml
meterd account open 10010301 --from "$(date -d '10 days ago' +%F)" --agreement A-2026-017 -c meterd.toml
meterd topup 10010301 200 --key receipt-0001 -c meterd.toml
meterd supply show --account 10010301 -c meterd.toml
meterd ledger verify -c meterd.toml
meterd account show 10010301 --json -c meterd.toml
