#!/bin/sh
# Does with POSTGRES_USER, POSTGRES_DB, POSTGRES_PASSWORD and POSTGRES_INITDB_ARGS what the image
# `postgres` of Docker Hub does with them.
set -eu
export PGHOST=/tmp
if [ ! -e "$PGDATA/PG_VERSION" ]; then
    printf '%s' "$POSTGRES_PASSWORD" > /tmp/password
    # shellcheck disable=SC2086 # several arguments
    initdb --username="$POSTGRES_USER" --pwfile=/tmp/password $POSTGRES_INITDB_ARGS
    rm /tmp/password
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    pg_ctl --wait start --options="-c listen_addresses= -c unix_socket_directories=/tmp"
    createdb --username="$POSTGRES_USER" "$POSTGRES_DB"
    pg_ctl --wait stop
fi
exec postgres -c listen_addresses='*' -c unix_socket_directories=/tmp
