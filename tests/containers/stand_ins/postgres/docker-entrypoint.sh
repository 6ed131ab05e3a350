#!/usr/bin/env bash
# The contract of the official image: POSTGRES_USER, _PASSWORD, _DB and _INITDB_ARGS (or _FILE),
# /docker-entrypoint-initdb.d, a volume that may be empty, started as root or as any user.
set -Eeuo pipefail

take() {
	local file=${1}_FILE
	if [ -n "${!file:-}" ]; then
		printf -v "$1" %s "$(< "${!file}")"
	else
		printf -v "$1" %s "${!1:-$2}"
	fi
	unset "$file"
}

sql() {
	psql --no-psqlrc --no-password -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" "$@"
}

run_scripts() {
	local script
	for script in /docker-entrypoint-initdb.d/*; do
		case $script in
			*.sh) if [ -x "$script" ]; then "$script"; else . "$script"; fi ;;
			*.sql) sql --dbname "$POSTGRES_DB" --file "$script" ;;
		esac
	done
}

make_cluster() {
	take POSTGRES_USER postgres
	take POSTGRES_PASSWORD ''
	take POSTGRES_DB "$POSTGRES_USER"
	take POSTGRES_INITDB_ARGS ''
	if [ -z "$POSTGRES_PASSWORD" ]; then
		echo >&2 'POSTGRES_PASSWORD is not set'
		exit 1
	fi
	eval 'initdb --username="$POSTGRES_USER" --auth-local=trust --auth-host=scram-sha-256' \
		'--pwfile=<(printf "%s\n" "$POSTGRES_PASSWORD")' "$POSTGRES_INITDB_ARGS"
	printf '\nhost all all all scram-sha-256\n' >> "$PGDATA/pg_hba.conf"
	printf "\nlisten_addresses = '*'\nunix_socket_directories = '/var/run/postgresql'\n" \
		>> "$PGDATA/postgresql.conf"
	# Nobody reaches it by the network before it is complete.
	PGUSER=$POSTGRES_USER pg_ctl -w start -o "-c listen_addresses=''"
	export POSTGRES_USER POSTGRES_PASSWORD POSTGRES_DB
	if [ "$POSTGRES_DB" != postgres ]; then
		sql --dbname postgres --set db="$POSTGRES_DB" <<< 'CREATE DATABASE :"db";'
	fi
	PGPASSWORD=$POSTGRES_PASSWORD run_scripts
	PGUSER=$POSTGRES_USER pg_ctl -m fast -w stop
}

if [ "${1#-}" != "$1" ]; then
	set -- postgres "$@"
fi
if [ "$1" = postgres ]; then
	mkdir -p "$PGDATA"
	chmod 0700 "$PGDATA" || :
	if [ "$(id -u)" = 0 ]; then
		chown -R postgres:postgres /var/lib/postgresql /var/run/postgresql
		exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
	fi
	if [ ! -s "$PGDATA/PG_VERSION" ]; then
		make_cluster
	fi
fi
exec "$@"
