//! What can be wrong: each name with its severity, and whether it lasts or is over as soon as it has been told.

use std::fmt;

use serde::{Serialize, Serializer};

/// How soon somebody should look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Within the working day: nothing is lost yet.
    Warning,
    /// At once: messages are lost, or will be.
    Critical,
}

impl Severity {
    /// The word for logs, metrics and messages.
    pub fn label(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// Makes the enumeration and what is known of each name, so that none can be forgotten.
macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $label:literal, $severity:ident, $duration:ident;)+) => {
        /// What can be wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Name {
            $($(#[$doc])* $name,)+
        }

        impl Name {
            /// Every name.
            pub const ALL: &'static [Name] = &[$(Name::$name,)+];

            /// The name as it is written in logs, in metrics and in `status`.
            pub fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)+
                }
            }

            /// How soon somebody should look.
            pub fn severity(self) -> Severity {
                match self {
                    $(Self::$name => Severity::$severity,)+
                }
            }

            fn duration(self) -> Duration {
                match self {
                    $(Self::$name => Duration::$duration,)+
                }
            }
        }
    };
}

/// Whether there is a moment at which it is right again.
#[derive(PartialEq, Eq)]
enum Duration {
    /// Whoever raises it notices when it is over.
    Lasts,
    /// It has happened, and can only be seen to: it is cleared after a quiet time, or when somebody acknowledges it.
    Happened,
}

names! {
    /// There is no session with a node.
    NodeUnreachable = "node-unreachable", Critical, Lasts;
    /// A node refuses the secret.
    SecretRefused = "secret-refused", Critical, Lasts;
    /// Another connection holds the component's domain.
    SecondInstance = "second-instance", Critical, Lasts;
    /// A store can't be reached.
    StoreUnreachable = "store-unreachable", Critical, Lasts;
    /// A store answers but can't write: read-only, full, or without the rights.
    StoreRefusing = "store-refusing", Critical, Lasts;
    /// The tables are not those of this version.
    StoreSchema = "store-schema", Critical, Lasts;
    /// A store refused a record, which was set aside.
    RecordQuarantined = "record-quarantined", Warning, Happened;
    /// Records that nobody could read were set aside.
    QuarantineGrew = "quarantine-grew", Warning, Happened;
    /// A spool is filled beyond the first mark.
    SpoolHigh = "spool-high", Warning, Lasts;
    /// A spool is filled beyond the second mark.
    SpoolNearlyFull = "spool-nearly-full", Critical, Lasts;
    /// A spool holds as much as it may, or its disk is full.
    SpoolFull = "spool-full", Critical, Lasts;
    /// Records of a spool were damaged on disk.
    SpoolDamaged = "spool-damaged", Critical, Happened;
    /// The files of a spool were removed by somebody else.
    SpoolRemoved = "spool-removed", Critical, Lasts;
    /// A disk has little room left.
    DiskLow = "disk-low", Critical, Lasts;
    /// A stanza was larger than the limit and is lost.
    StanzaOversize = "stanza-oversize", Critical, Happened;
    /// Stanzas were dropped because the spool was full.
    StanzasDropped = "stanzas-dropped", Critical, Happened;
    /// Messages may be missing from an interval of time, and nobody has seen to it yet.
    GapOpened = "gap-opened", Warning, Lasts;
    /// What was counted, the rows and the node's own archive do not agree.
    ReconcileMismatch = "reconcile-mismatch", Warning, Lasts;
    /// A probe message did not come back into the archive.
    CanaryMissing = "canary-missing", Critical, Lasts;
    /// A daily export could not be made, or not be delivered.
    ExportFailed = "export-failed", Critical, Lasts;
    /// Too many attempts to sign in to an account failed, so it is locked for some time.
    AccountLocked = "account-locked", Warning, Happened;
    /// The system's clock was set.
    ClockJumped = "clock-jumped", Warning, Happened;
    /// A server's certificate is about to end.
    CertificateNearEnd = "certificate-near-end", Warning, Lasts;
    /// What was received waits too long to be stored.
    ArchiveLag = "archive-lag", Warning, Lasts;
}

impl Name {
    /// Whether it can only be seen to, so that it is cleared after a quiet time.
    pub fn has_happened(self) -> bool {
        self.duration() == Duration::Happened
    }

    /// The name with this label.
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|name| name.label() == label)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_unique_and_found_again() {
        for name in Name::ALL {
            assert_eq!(Name::from_label(name.label()), Some(*name));
            assert!(name.label().chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{name}");
        }
        assert_eq!(Name::from_label("nothing"), None);
    }
}
