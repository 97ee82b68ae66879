FROM debian:12-slim
ENV API_TOKEN=abcdefgh
ENV NORMAL=value
ARG DB_PASSWORD
RUN apt-get update \
 # a comment in between
 && apt-get install -y --no-install-recommends \
      ca-certificates=20230311 \
      curl \
 && rm -rf /var/lib/apt/lists/*
RUN --mount=type=cache,target=/var/cache/apt --mount=type=cache,target=/var/lib/apt apt-get update && apt-get install -y --no-install-recommends git=1:2.39
RUN set -eux; \
    if [ -n "$X" ]; then \
      apt-get install -y --no-install-recommends vim; \
    fi
RUN python3 -m pip install --no-cache-dir requests
RUN pip install --no-cache-dir git+https://example.org/a/b@v1 ./local "numpy>=1"
RUN pip install --no-cache-dir --index-url https://example.org/simple torch==2.4
RUN ["apt-get", "install", "-y", "less"]
# hadolint ignore=DL3008
RUN apt-get install -y --no-install-recommends nano
WORKDIR /srv
ADD archive.tar.gz /srv/
ADD https://example.org/file /srv/file
COPY . /srv
USER 0
USER www-data
