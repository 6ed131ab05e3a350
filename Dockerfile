# One image for every server; compose.yaml says which one a container runs.
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md ./
COPY gen gen
COPY mesh mesh
COPY storage_server storage_server
COPY ingest_server ingest_server
COPY query_server query_server
COPY admin_server admin_server
COPY artstore_client artstore_client
COPY launch launch
RUN python -m venv /opt/artstore \
    && /opt/artstore/bin/pip install --no-cache-dir .

FROM python:3.11.14-slim-bookworm
# The number is fixed, so that the owner of a mounted volume is known.
RUN useradd --uid 10001 --create-home --home-dir /var/lib/artstore artstore
COPY --from=build /opt/artstore /opt/artstore
ENV PATH=/opt/artstore/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ARTSTORE_HOST=0.0.0.0 \
    ARTSTORE_DATA_DIR=/var/lib/artstore/data
USER artstore
RUN mkdir -p /var/lib/artstore/data
VOLUME /var/lib/artstore/data
CMD ["artstore", "--help"]
