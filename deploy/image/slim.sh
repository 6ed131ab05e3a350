#!/bin/sh
# slim.sh FOLDER: leave out of installed packages what no server runs, and make two builds alike.
set -eu

packages=$1/lib/python3.11/site-packages
rm -f "$1"/bin/[Aa]ctivate*

# Descriptions of some 400 services of AWS, of which S3 and what gives credentials for it are used.
if [ -d "$packages/botocore/data" ]; then
	find "$packages/botocore/data" -mindepth 1 -maxdepth 1 -type d \
		! -name s3 ! -name sts ! -name sso ! -name sso-oidc ! -name signin -exec rm -r {} +
fi
# Sources of what is compiled, and the packages' own tests.
find "$packages" -type f \( -name '*.c' -o -name '*.h' -o -name '*.pyx' -o -name '*.pxd' \) -delete
find "$packages" -type d \( -name tests -o -name test \) -prune -exec rm -r {} +

# Nobody writes there later, so the caches are made now, and are not compared with their sources.
python3.11 -m compileall -q --invalidation-mode unchecked-hash "$packages"
find "$1" -exec touch --no-dereference --date=@0 {} +
