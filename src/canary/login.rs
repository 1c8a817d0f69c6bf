//! How the password is proved (SASL, RFC 6120 section 6): SCRAM, which does not tell it; else PLAIN, only if the connection is protected.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sasl::client::Mechanism;
use sasl::client::mechanisms::{Plain, Scram};
use sasl::common::scram::{Sha1, Sha256};
use sasl::common::{ChannelBinding, Credentials};
use secrecy::{ExposeSecret, SecretString};

use super::LogInError;

/// More rounds of PBKDF2 than any server asks for: one that asks for more wants us to do nothing else.
const MOST_ROUNDS: u32 = 500_000;
/// An empty response or challenge (RFC 6120 section 6.4.2).
const EMPTY: &str = "=";

/// A log-in under way.
pub(super) struct LogIn {
    mechanism: Box<dyn Mechanism + Send>,
    name: &'static str,
    /// The server has proved that it knows the account, or need not.
    is_proven: bool,
}

impl LogIn {
    /// Chooses among what the server offers.
    pub(super) fn new(offered: &[String], is_protected: bool, user: &str, password: &SecretString) -> Result<Self, LogInError> {
        let offers = |name: &str| offered.iter().any(|offer| offer == name);
        let credentials = |user: &str, password: &str| {
            Credentials::default().with_username(user).with_password(password).with_channel_binding(ChannelBinding::None)
        };
        let password = password.expose_secret();
        // RFC 5802 section 5.1 and 2.2; what can't be prepared is taken as it is, as servers do.
        let escaped = user.replace('=', "=3D").replace(',', "=2C");
        let prepared = stringprep::saslprep(password).map_or_else(|_unusual| password.to_owned(), |text| text.into_owned());
        let failed = |error: sasl::client::MechanismError| LogInError::Mechanisms(error.to_string());
        let (mechanism, name): (Box<dyn Mechanism + Send>, _) = if offers("SCRAM-SHA-256") {
            (Box::new(Scram::<Sha256>::from_credentials(credentials(&escaped, &prepared)).map_err(failed)?), "SCRAM-SHA-256")
        } else if offers("SCRAM-SHA-1") {
            (Box::new(Scram::<Sha1>::from_credentials(credentials(&escaped, &prepared)).map_err(failed)?), "SCRAM-SHA-1")
        } else if offers("PLAIN") && is_protected {
            (Box::new(Plain::from_credentials(credentials(user, password)).map_err(failed)?), "PLAIN")
        } else {
            return Err(LogInError::Mechanisms(if offered.is_empty() { "none".to_owned() } else { offered.join(", ") }));
        };
        Ok(Self { mechanism, is_proven: name == "PLAIN", name })
    }

    /// The mechanism's name.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// What is said first.
    pub(super) fn initial(&mut self) -> String {
        encoded(&self.mechanism.initial())
    }

    /// The answer to a challenge.
    pub(super) fn respond(&mut self, challenge: &str) -> Result<String, LogInError> {
        let challenge = decoded(challenge)?;
        // Some servers prove themselves in a challenge of its own, which is answered with nothing.
        if challenge.starts_with(b"v=") {
            self.prove(&challenge)?;
            return Ok(String::new());
        }
        if rounds(&challenge).is_some_and(|rounds| rounds > MOST_ROUNDS) {
            return Err(LogInError::Unproven(format!("it asks for more than {MOST_ROUNDS} rounds of PBKDF2")));
        }
        let response = self.mechanism.response(&challenge).map_err(|error| LogInError::Unproven(error.to_string()))?;
        Ok(encoded(&response))
    }

    /// The server says that all is well.
    pub(super) fn succeed(mut self, data: &str) -> Result<(), LogInError> {
        if !self.is_proven {
            let data = decoded(data)?;
            self.prove(&data)?;
        }
        Ok(())
    }

    fn prove(&mut self, data: &[u8]) -> Result<(), LogInError> {
        self.mechanism.success(data).map_err(|error| LogInError::Unproven(error.to_string()))?;
        self.is_proven = true;
        Ok(())
    }
}

fn encoded(bytes: &[u8]) -> String {
    if bytes.is_empty() { EMPTY.to_owned() } else { BASE64.encode(bytes) }
}

fn decoded(text: &str) -> Result<Vec<u8>, LogInError> {
    match text.trim() {
        "" | EMPTY => Ok(Vec::new()),
        text => BASE64.decode(text).map_err(|error| LogInError::Stream(format!("its challenge is not Base64: {error}"))),
    }
}

/// The count in the first message of a SCRAM server (RFC 5802 section 5.1).
fn rounds(challenge: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(challenge).ok()?;
    let count = text.split(',').find_map(|part| part.strip_prefix("i="))?;
    // What is no number of this size is too many.
    Some(count.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(names: &[&str], is_protected: bool) -> Result<LogIn, LogInError> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        LogIn::new(&names, is_protected, "a=b,c", &"pencil".into())
    }

    #[test]
    fn the_strongest_mechanism_is_taken_and_no_password_is_told_in_the_clear() {
        for (names, is_protected, expected) in [
            (&["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256"][..], true, Some("SCRAM-SHA-256")),
            (&["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"], false, Some("SCRAM-SHA-1")),
            (&["PLAIN"], true, Some("PLAIN")),
            (&["PLAIN"], false, None),
            (&["X-OTHER"], true, None),
            (&[], true, None),
        ] {
            assert_eq!(offer(names, is_protected).ok().map(|log_in| log_in.name()), expected, "{names:?}");
        }
    }

    #[test]
    fn names_are_escaped_as_scram_wants_it() {
        let first = BASE64.decode(offer(&["SCRAM-SHA-1"], false).unwrap().initial()).unwrap();
        assert!(String::from_utf8(first).unwrap().starts_with("n,,n=a=3Db=2Cc,r="));
        assert_eq!(BASE64.decode(offer(&["PLAIN"], true).unwrap().initial()).unwrap(), b"\0a=b,c\0pencil");
    }

    #[test]
    fn a_server_that_proves_nothing_is_refused() {
        let mut log_in = offer(&["SCRAM-SHA-256"], true).unwrap();
        let first = String::from_utf8(BASE64.decode(log_in.initial()).unwrap()).unwrap();
        let nonce = first.rsplit_once("r=").unwrap().1;
        let challenge = |rounds: &str| BASE64.encode(format!("r={nonce}x,s=QSXCR+Q6sek8bf92,i={rounds}"));
        for many in ["500001", "99999999999", "-1"] {
            assert!(matches!(log_in.respond(&challenge(many)), Err(LogInError::Unproven(_))), "{many}");
        }
        assert!(log_in.respond(&challenge("4096")).is_ok());
        assert!(log_in.respond("no base64").is_err());
        assert!(matches!(log_in.respond(&BASE64.encode("v=AAAA")), Err(LogInError::Unproven(_))));
        assert!(matches!(log_in.succeed(""), Err(LogInError::Unproven(_))));
    }
}
