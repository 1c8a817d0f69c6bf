//! Passwords: what one must be, and how it is kept.
//!
//! The rules are those of NIST SP 800-63B: long enough, not the name, not one of those that everybody tries; any character goes, none must be there.
//! Kept is Argon2id with the parameters that OWASP asks for, in PHC format, so that a later version can ask for more and knows which are
//! old. Hashing takes memory and time: it has threads of its own, and few at a time.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;
use unicode_normalization::UnicodeNormalization;

use super::AccessError;
use super::crypt::random;

/// The fewest characters.
pub const LEAST_CHARS: usize = 12;
/// The most bytes: hashing takes no longer for a long one, reading it does.
pub const MOST_BYTES: usize = 1024;
/// So many characters must be left without the name.
const LEAST_BESIDE_NAME: usize = 8;
/// So many different characters there must be.
const LEAST_DIFFERENT: usize = 5;
/// OWASP Password Storage Cheat Sheet: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// How many are hashed at a time: memory is bounded by this.
const AT_A_TIME: usize = 2;

/// Long passwords that stand in every list of those that were stolen, and words that such are made of.
const COMMON: [&str; 20] = [
    "123456789012",
    "1234567890123",
    "12345678901234",
    "123456789123",
    "123123123123",
    "111222333444",
    "1q2w3e4r5t6y",
    "qwertyuiop12",
    "qwertyuiop123",
    "qwertyuiopasdfghjkl",
    "asdfghjkl123",
    "password1234",
    "password12345",
    "password123456",
    "passwordpassword",
    "administrator",
    "administrator1",
    "correcthorsebatterystaple",
    "letmeinletmein",
    "changemechangeme",
];

/// Whether a password will do for an account of this name.
///
/// # Errors
/// Why it won't.
pub fn check(password: &SecretString, name: &str) -> Result<(), String> {
    let text = normalised(password);
    let folded = text.to_lowercase();
    let beside_name = match name.chars().count() >= 3 {
        true => folded.replace(&name.to_lowercase(), ""),
        false => folded.clone(),
    };
    let different: HashSet<char> = folded.chars().collect();
    let wrong = match () {
        () if text.chars().count() < LEAST_CHARS => format!("must have at least {LEAST_CHARS} characters"),
        () if text.len() > MOST_BYTES => format!("must have at most {MOST_BYTES} bytes"),
        () if beside_name.chars().count() < LEAST_BESIDE_NAME => "must not be the name with little else".to_owned(),
        () if different.len() < LEAST_DIFFERENT => format!("must have at least {LEAST_DIFFERENT} different characters"),
        () if COMMON.contains(&folded.as_str()) => "is one that everybody tries first".to_owned(),
        () => return Ok(()),
    };
    Err(format!("the password {wrong}"))
}

/// The same character may be typed in two ways, by the keyboard of another system.
fn normalised(password: &SecretString) -> String {
    password.expose_secret().nfkc().collect()
}

/// What came of comparing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// It is the one.
    pub(super) is_right: bool,
    /// It was kept with parameters that are old by now.
    pub(super) is_outdated: bool,
}

/// Hashes and compares.
#[derive(Clone)]
pub(super) struct Hasher {
    gate: Arc<Semaphore>,
    /// Compared with where there is no account, so that nobody learns that from the time it takes. Made when it is first needed, or before.
    decoy: Arc<OnceLock<String>>,
    params: Params,
}

impl Hasher {
    pub(super) fn new() -> Result<Self, AccessError> {
        let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(broken)?;
        Ok(Self::with(params))
    }

    fn with(params: Params) -> Self {
        Self { gate: Arc::new(Semaphore::new(AT_A_TIME)), decoy: Arc::default(), params }
    }

    /// Makes ready for those who are not there.
    pub(super) async fn warm(&self) -> Result<(), AccessError> {
        let hasher = self.clone();
        self.apart(move || hasher.decoy().map(drop)).await?
    }

    fn decoy(&self) -> Result<String, AccessError> {
        if let Some(decoy) = self.decoy.get() {
            return Ok(decoy.clone());
        }
        let made = hash(&self.params, &format!("{:x?}", random::<32>()?))?;
        Ok(self.decoy.get_or_init(|| made).clone())
    }

    /// What is kept of a password.
    pub(super) async fn hash(&self, password: &SecretString) -> Result<String, AccessError> {
        let (params, text) = (self.params.clone(), normalised(password));
        self.apart(move || hash(&params, &text)).await?
    }

    /// Compares a password with what was kept; without that, with something that no password is, in the same time.
    pub(super) async fn verify(&self, password: &SecretString, kept: Option<&str>) -> Result<Verdict, AccessError> {
        let text = normalised(password);
        // The answer is known then, but not how long it would take.
        let is_possible = kept.is_some() && text.len() <= MOST_BYTES;
        let kept = kept.filter(|_| is_possible).map(str::to_owned);
        let hasher = self.clone();
        let work = move || verify(&hasher.params, &text, &kept.map_or_else(|| hasher.decoy(), Ok)?);
        let verdict = self.apart(work).await??;
        Ok(Verdict { is_right: verdict.is_right && is_possible, ..verdict })
    }

    async fn apart<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, AccessError> {
        let ended = |error: &dyn std::fmt::Display| AccessError::Broken(format!("hashing passwords: {error}"));
        let _place = self.gate.acquire().await.map_err(|error| ended(&error))?;
        tokio::task::spawn_blocking(work).await.map_err(|error| ended(&error))
    }
}

fn argon(params: &Params) -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone())
}

fn hash(params: &Params, text: &str) -> Result<String, AccessError> {
    let salt = SaltString::encode_b64(&random::<16>()?).map_err(broken)?;
    argon(params).hash_password(text.as_bytes(), &salt).map(|hash| hash.to_string()).map_err(broken)
}

fn verify(params: &Params, text: &str, kept: &str) -> Result<Verdict, AccessError> {
    let kept = PasswordHash::new(kept).map_err(broken)?;
    let old = Params::try_from(&kept).map_err(broken)?;
    // Compares in constant time, with the parameters that were kept.
    let is_right = argon(&old).verify_password(text.as_bytes(), &kept).is_ok();
    let is_outdated = old.m_cost() < params.m_cost() || old.t_cost() < params.t_cost();
    Ok(Verdict { is_right, is_outdated })
}

fn broken(error: impl std::fmt::Display) -> AccessError {
    AccessError::Broken(format!("hashing passwords: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretString {
        text.to_owned().into()
    }

    #[test]
    fn passwords_that_will_do_and_that_will_not() {
        for text in ["horse staple cable", "пароль из слов", "ann likes her tea", "1234 5678 9012 x"] {
            assert_eq!(check(&secret(text), "ann"), Ok(()), "{text}");
        }
        let long = "x1y2z".repeat(300);
        for (text, word) in [
            ("short", "at least 12"),
            ("elevenchars", "at least 12"),
            (long.as_str(), "at most"),
            ("alexander-alexander", "the name"),
            ("Alexander123", "the name"),
            ("aaaaaaaabbbb", "different"),
            ("PasswordPassword", "everybody"),
        ] {
            let told = check(&secret(text), "alexander").unwrap_err();
            assert!(told.contains(word), "{text}: {told}");
            assert!(!told.contains(text), "{told}");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_password_is_known_again_however_it_was_typed() {
        let hasher = Hasher::new().unwrap();
        let kept = hasher.hash(&secret("gru\u{0308}n ist der Tee")).await.unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        let verdict = hasher.verify(&secret("grün ist der Tee"), Some(&kept)).await.unwrap();
        assert_eq!(verdict, Verdict { is_right: true, is_outdated: false });
        assert!(!hasher.verify(&secret("gruen ist der Tee"), Some(&kept)).await.unwrap().is_right);
        assert!(!hasher.verify(&secret(&"x".repeat(MOST_BYTES + 1)), Some(&kept)).await.unwrap().is_right);
        assert!(!hasher.verify(&secret("gruen ist der Tee"), None).await.unwrap().is_right);
        assert!(hasher.verify(&secret("x"), Some("no hash")).await.is_err());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn old_parameters_are_noticed() {
        let old = Hasher::with(Params::new(8 * 1024, 1, 1, None).unwrap());
        let kept = old.hash(&secret("horse staple cable")).await.unwrap();
        let verdict = Hasher::new().unwrap().verify(&secret("horse staple cable"), Some(&kept)).await.unwrap();
        assert_eq!(verdict, Verdict { is_right: true, is_outdated: true });
    }
}
