# One image for every server; compose.yaml says which one a container runs.
#
# Debian's own Python, which gets Debian's security fixes and which a machine without an image
# registry can have too. All files of our layers have one date, and Python's caches name nothing
# that differs between two builds: the same commit on the same packages gives the same layers.
FROM debian:12.12-slim AS health
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev libssl-dev
COPY deploy/image/healthy.c .
RUN gcc -O2 -Wall -Wextra -Werror -s -o artstore-healthy healthy.c -lssl -lcrypto

FROM debian:12.12-slim AS tools
RUN apt-get update \
    && apt-get install -y --no-install-recommends binutils ca-certificates python3.11-venv
# An index of your own: --build-arg PIP_INDEX_URL=...
ARG PIP_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONHASHSEED=0
WORKDIR /src
COPY requirements requirements
RUN python3.11 -m venv /build \
    && /build/bin/pip install --require-hashes --no-deps -r requirements/build.lock \
    && python3.11 -m venv --without-pip /opt/artstore
COPY deploy/image/slim.sh .

FROM tools AS packages
RUN /build/bin/pip --python /opt/artstore/bin/python install \
        --require-hashes --no-deps --no-compile --only-binary :all: -r requirements/server.lock \
    && find /opt/artstore/bin ! -type d ! -name 'python*' -delete \
    && mkdir -p /made/opt && mv /opt/artstore /made/opt && sh slim.sh /made

FROM tools AS artstore
COPY pyproject.toml README.md ./
COPY gen gen
COPY mesh mesh
COPY storage_server storage_server
COPY ingest_server ingest_server
COPY query_server query_server
COPY admin_server admin_server
COPY artstore_client artstore_client
RUN /build/bin/pip wheel --no-build-isolation --no-deps -w /wheel . \
    && /build/bin/pip --python /opt/artstore/bin/python install \
        --no-deps --no-compile --prefix /made/opt/artstore /wheel/*
COPY --from=health artstore-healthy /made/opt/artstore/bin/
RUN sh slim.sh /made

FROM debian:12.12-slim
# The number is fixed, so that the owner of a mounted volume is known. Logs are emptied, since a
# removed file would leave a trace with today's date; the builder mounts its own names of hosts.
RUN touch /var/before \
    && apt-get update \
    && apt-get install -y --no-install-recommends \
        ca-certificates libpython3.11-stdlib libssl3 python3.11-minimal \
    && echo 'artstore:x:10001:10001::/var/lib/artstore:/usr/sbin/nologin' >> /etc/passwd \
    && echo 'artstore:x:10001:' >> /etc/group \
    && install -d -o 10001 -g 10001 /var/lib/artstore /var/lib/artstore/data \
    # Debian does it for its own python3.11 only, which brings more than servers need.
    && PYTHONHASHSEED=0 python3.11 -m compileall -q --invalidation-mode unchecked-hash \
        /usr/lib/python3.11 \
    && find /var/lib/apt/lists /var/cache/apt -type f -delete \
    && find /var/log -type f -exec truncate --size 0 {} + \
    && rm -f /var/cache/ldconfig/aux-cache /var/cache/debconf/*-old \
    && find /etc /tmp /usr /var -newer /var/before \
        ! -path /etc/hosts ! -path /etc/hostname ! -path /etc/resolv.conf \
        -exec touch --no-dereference --date=@0 {} + \
    && rm /var/before && touch --date=@0 /var
COPY --from=packages /made/ /
COPY --from=artstore /made/ /
ENV PATH=/opt/artstore/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    GRPC_VERBOSITY=ERROR \
    ARTSTORE_HOST=0.0.0.0 \
    ARTSTORE_DATA_DIR=/var/lib/artstore/data
USER 10001:10001
WORKDIR /var/lib/artstore
VOLUME /var/lib/artstore/data
STOPSIGNAL SIGTERM
# Docker ends a check that hangs; ours says why after 3 s.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 CMD ["artstore-healthy"]
CMD ["artstore", "--help"]
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="ArtStore" \
      org.opencontainers.image.description="A file store for documents and artifacts, spoken to over gRPC." \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.base.name="debian:12.12-slim" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED"
