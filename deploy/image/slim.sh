#!/bin/sh
# slim.sh ROOT: leave out of ROOT/opt/artstore what no server runs, and make two builds alike.
set -eu

venv=$1/opt/artstore
packages=$venv/lib/python3.11/site-packages
rm -rf "$venv"/bin/[Aa]ctivate* "$venv/include"

# botocore describes some 400 services. Used are S3 and those that give credentials for it.
if [ -d "$packages/botocore/data" ]; then
	find "$packages/botocore/data" -mindepth 1 -maxdepth 1 -type d \
		! -name s3 ! -name sts ! -name sso ! -name sso-oidc ! -name signin -exec rm -r {} +
fi
# Sources of what is compiled, the packages' own tests, what only a debugger reads. Libraries that
# auditwheel put beside a package are left as it patched them.
find "$packages" -type f \( -name '*.[ch]' -o -name '*.py[xi]' -o -name '*.pxd' \) -delete
find "$packages" -type d \( -name tests -o -name test \) -prune -exec rm -r {} +
find "$packages" -name '*.so' ! -path '*.libs/*' -exec strip --strip-debug {} +

# Nobody writes there later, so the caches are made now; nor are they compared with their sources.
python3.11 -m compileall -q -f --invalidation-mode unchecked-hash -s "$1" -p / "$packages"
find "$1" -exec touch --no-dereference --date=@0 {} +
