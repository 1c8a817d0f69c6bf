# The archiver in a container: built from this directory, run by a user without rights.
#
#   docker build -t xmpp-archiver .
#   docker run -v ./archiver.toml:/etc/xmpp-archiver/archiver.toml:ro -v archive:/var/lib/xmpp-archiver xmpp-archiver
#
# The volume holds the spool, and a SQLite archive if that is the store: without one, what is not stored yet dies with the container.
FROM rust:1-bookworm AS build
WORKDIR /source
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY migrations migrations
COPY templates templates
COPY benches benches
COPY tests tests
COPY examples examples
RUN cargo build --release --locked --bin xmpp-archiver

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 990 --home-dir /var/lib/xmpp-archiver --shell /usr/sbin/nologin xmpp-archiver \
    && install -d -m 0700 -o xmpp-archiver -g xmpp-archiver /var/lib/xmpp-archiver \
    && install -d -m 0755 /etc/xmpp-archiver
COPY --from=build /source/target/release/xmpp-archiver /usr/bin/xmpp-archiver
USER xmpp-archiver
WORKDIR /var/lib/xmpp-archiver
VOLUME /var/lib/xmpp-archiver
STOPSIGNAL SIGTERM
# It says what the archiver says of itself, and needs no port.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["/usr/bin/xmpp-archiver", "--quiet", "status"]
ENTRYPOINT ["/usr/bin/xmpp-archiver"]
CMD ["run", "--config", "/etc/xmpp-archiver/archiver.toml"]
