#!/bin/sh
# The contract of the official image: options alone are the server's, and it never runs as root.
set -eu

if [ "${1#-}" != "$1" ] || [ "${1%.conf}" != "$1" ]; then
	set -- valkey-server "$@"
fi
if [ "$1" = valkey-server ] && [ "$(id -u)" = 0 ]; then
	find . \! -user valkey -exec chown valkey '{}' +
	exec setpriv --reuid=valkey --regid=valkey --clear-groups "$0" "$@"
fi
# shellcheck disable=SC2086
exec "$@" ${VALKEY_EXTRA_FLAGS:-}
