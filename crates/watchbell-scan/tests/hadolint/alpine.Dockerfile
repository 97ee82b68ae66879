# syntax=docker/dockerfile:1
FROM alpine:latest AS base
RUN apk add curl bash=5.2
RUN apk add --no-cache jq~1.7 && apk del jq
RUN wget https://example.org/a.tgz -O /tmp/a.tgz && tar xzf /tmp/a.tgz
RUN wget -q https://example.org/b.tgz | tar xz
SHELL ["/bin/ash", "-o", "pipefail", "-c"]
RUN wget -q -O- https://example.org/c | sha256sum
FROM base AS base
USER nobody
FROM base
RUN npm install -g yarn left-pad@1.3.0
RUN npm install
RUN gem install bundler rake:13.0
RUN go install example.org/tool@latest && go install example.org/other
USER 1000:1000
