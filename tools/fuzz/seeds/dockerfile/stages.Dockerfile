FROM golang:1.23 AS builder
RUN go build ./...
RUN pip install -U pip
USER root
FROM builder AS tester
RUN apt-get update
FROM gcr.io/distroless/static@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
COPY --from=0 /a /a
COPY --from=Builder /b /b
COPY --from=tester /c /c
ENTRYPOINT ["/a"]
