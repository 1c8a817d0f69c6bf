//! The default of each setting and, where it has them, its limits: one name for each number.

use std::time::Duration;

use super::values::ByteSize;

/// A default with the least and the most that are accepted.
#[derive(Clone, Copy, Debug)]
pub struct Bounds<T> {
    /// What holds when nothing is said.
    pub default: T,
    /// The smallest value that makes sense.
    pub least: T,
    /// The largest value that makes sense.
    pub most: T,
}

const fn seconds(default: u64, least: u64, most: u64) -> Bounds<Duration> {
    Bounds { default: Duration::from_secs(default), least: Duration::from_secs(least), most: Duration::from_secs(most) }
}

/// The most bytes of a configuration file.
pub const FILE_BYTES: u64 = 16 << 20;

/// The most bytes of a file that holds a secret.
pub const SECRET_FILE_BYTES: u64 = 4 << 10;

/// The most stores in one process.
pub const STORES: usize = 64;

/// The most nodes in one process.
pub const NODES: usize = 1_000;

/// The most domains in one list.
pub const DOMAINS: usize = 10_000;

/// The most bytes of a store's or a node's name.
pub const NAME_BYTES: usize = 255;

/// The name of the store where none is configured.
pub const STORE_NAME: &str = "default";

/// The URL of the store where none is configured.
pub const STORE_URL: &str = "sqlite:archive.sqlite";

/// Connections that a store keeps open.
pub const STORE_POOL: Bounds<u64> = Bounds { default: 4, least: 1, most: 64 };

/// How long connecting to a store may take.
pub const STORE_CONNECT_TIMEOUT: Bounds<Duration> = seconds(10, 1, 600);

/// How long one statement may take.
pub const STORE_STATEMENT_TIMEOUT: Bounds<Duration> = seconds(60, 1, 86_400);

/// Spool records that one transaction writes at most. Rates stop growing at about 4000 rows a batch.
pub const STORE_BATCH_MESSAGES: Bounds<u64> = Bounds { default: 2_000, least: 1, most: 100_000 };

/// The largest stanza that is read; a larger one is skipped, counted and alarmed. A record of the spool holds it with what is known of it beside.
pub const NODE_MAX_STANZA: Bounds<ByteSize> =
    Bounds { default: ByteSize::mebibytes(10), least: ByteSize::mebibytes(1), most: ByteSize::mebibytes(15) };

/// How long connecting to a node may take, the handshake included.
pub const NODE_CONNECT_TIMEOUT: Bounds<Duration> = seconds(10, 1, 600);

/// How long a node may be silent before it is pinged (XEP-0199).
pub const NODE_PING_INTERVAL: Bounds<Duration> = seconds(30, 1, 3_600);

/// How long the answer to a ping may take before the connection is given up.
pub const NODE_PING_TIMEOUT: Bounds<Duration> = seconds(30, 1, 3_600);

/// How often a probe message is written.
pub const CANARY_EVERY: Bounds<Duration> = seconds(60, 1, 86_400);

/// How long a probe may take to come back, the log-in included.
pub const CANARY_TIMEOUT: Bounds<Duration> = seconds(30, 1, 3_600);

/// The directory of the spool.
pub const SPOOL_PATH: &str = "spool";

/// The disk that the spool of one store may fill.
pub const SPOOL_LIMIT: Bounds<ByteSize> =
    Bounds { default: ByteSize::gibibytes(10), least: ByteSize::mebibytes(2), most: ByteSize::gibibytes(1 << 20) };

/// How long a stanza may wait for others that are made durable with it.
pub const SPOOL_COMMIT_DELAY: Bounds<Duration> =
    Bounds { default: Duration::from_millis(5), least: Duration::ZERO, most: Duration::from_secs(1) };

/// The size of one file of the spool, which is freed as a whole.
pub const SPOOL_SEGMENT: Bounds<ByteSize> =
    Bounds { default: ByteSize::mebibytes(64), least: ByteSize::mebibytes(1), most: ByteSize::gibibytes(1) };

/// How long the copies of one message may be apart on one node.
pub const ARCHIVE_JOIN_WINDOW: Bounds<Duration> = seconds(60, 1, 3_600);

/// How often `run` renews what `status` shows.
pub const RUN_STATUS_INTERVAL: Bounds<Duration> =
    Bounds { default: Duration::from_secs(1), least: Duration::from_millis(100), most: Duration::from_secs(3_600) };

/// How long an orderly stop may take before it is cut short; what is spooled stays for the next start.
pub const RUN_SHUTDOWN_TIMEOUT: Bounds<Duration> = seconds(30, 1, 3_600);

/// The most people that alarms are sent to in one way.
pub const ALARM_RECIPIENTS: usize = 100;

/// After this quiet time an alarm about what has merely happened is cleared: by then the next shift has seen it.
pub const ALARM_CLEAR_AFTER: Bounds<Duration> = seconds(86_400, 1, 31_536_000);

/// So long a node may be without a session: long enough for its restart.
pub const ALARM_NODE_DOWN_AFTER: Bounds<Duration> = seconds(15, 0, 3_600);

/// Percent of the spool's limit: the first mark.
pub const ALARM_SPOOL_HIGH: Bounds<u64> = Bounds { default: 75, least: 1, most: 99 };

/// Percent of the spool's limit: the second mark.
pub const ALARM_SPOOL_NEARLY_FULL: Bounds<u64> = Bounds { default: 90, least: 2, most: 99 };

/// So much must be free on the disks.
pub const ALARM_DISK_LOW: Bounds<ByteSize> =
    Bounds { default: ByteSize::gibibytes(1), least: ByteSize(0), most: ByteSize::gibibytes(1 << 20) };

/// So long a record may wait to be stored.
pub const ALARM_LAG_LIMIT: Bounds<Duration> = seconds(300, 1, 2_592_000);

/// So many days before its end a certificate is told of.
pub const ALARM_CERTIFICATE_DAYS: Bounds<u64> = Bounds { default: 14, least: 0, most: 3_650 };

/// By so much the system's clock may differ from the time that has passed: more than any correction by NTP that is not a step.
pub const ALARM_CLOCK_JUMP: Bounds<Duration> = seconds(5, 1, 86_400);

/// Where the console listens.
pub const WEB_LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 9281);

/// The file with the console's key.
pub const WEB_KEY_FILE: &str = "access.key";

/// The most exports by the clock.
pub const EXPORTS: usize = 100;

/// The region of servers that have none of their own.
pub const S3_REGION: &str = "us-east-1";

/// How long an object may be kept: S3 has no longer time.
pub const S3_RETAIN_DAYS: Bounds<u64> = Bounds { default: 1, least: 1, most: 36_500 };

/// The parts of a large file: S3 takes no smaller ones.
pub const S3_PART_SIZE: Bounds<ByteSize> =
    Bounds { default: ByteSize::mebibytes(16), least: ByteSize::mebibytes(5), most: ByteSize::mebibytes(512) };

/// A key of S3 has 1,024 bytes at most, of which the names of exports and files need some.
pub const S3_PREFIX_BYTES: usize = 512;

/// The name of the export that has none.
pub const EXPORT_NAME: &str = "export";

/// When they are made: hour and minute.
pub const EXPORT_AT: [i8; 2] = [2, 0];

/// The directory with the exports that are made in the console.
pub const WEB_EXPORTS: &str = "exports";

/// So many days after its end an export of the console is removed; 0: never.
pub const WEB_KEEP_EXPORTS_DAYS: Bounds<u64> = Bounds { default: 30, least: 0, most: 36_500 };

/// The most proxies before the console.
pub const WEB_PROXIES: usize = 100;

/// A session ends when it was not used for so long.
pub const WEB_SESSION_IDLE: Bounds<Duration> = seconds(900, 60, 86_400);

/// A session ends after so long, used or not: a working day.
pub const WEB_SESSION_LIFETIME: Bounds<Duration> = seconds(36_000, 300, 604_800);

/// What is asked of a provider beside `openid`.
pub const OIDC_SCOPES: [&str; 2] = ["profile", "email"];

/// The most of them.
pub const OIDC_SCOPES_MOST: usize = 50;

/// The claim that names an account which is made.
pub const OIDC_NAME_CLAIM: &str = "preferred_username";

/// The most values of a claim that give one role.
pub const OIDC_ROLE_VALUES: usize = 1_000;

/// By how much a provider's clock may differ.
pub const OIDC_CLOCK_SKEW: Bounds<Duration> = seconds(60, 0, 600);
