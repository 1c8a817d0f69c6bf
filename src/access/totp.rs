//! Second factors: codes of RFC 6238 (SHA-1, six digits, 30 s, as every app knows them), and recovery codes.

use secrecy::SecretString;
use totp_rs::{Builder, Totp};

use super::crypt::{random, sha256};
use super::{AccessError, Recovery};
use crate::time::{Micros, SECOND};

/// RFC 4226 section 4 asks for 160 bits.
const KEY_BYTES: usize = 20;
/// How long a code is good, in seconds.
const STEP_SECONDS: u64 = 30;
/// How many steps before and after are taken: clocks of phones are about right (RFC 6238 section 5.2).
const SKEW_STEPS: u16 = 1;
/// Recovery codes that are made at a time.
const RECOVERY_CODES: usize = 10;
/// Bytes of a recovery code: 80 bits, 16 letters.
const RECOVERY_BYTES: usize = 10;
/// RFC 4648 in small letters.
const LETTERS: [char; 32] = [
    'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q', 'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z', '2',
    '3', '4', '5', '6', '7',
];

/// A new key.
pub(super) fn new_key() -> Result<Vec<u8>, AccessError> {
    Ok(random::<KEY_BYTES>()?.to_vec())
}

fn generator(key: &[u8]) -> Totp {
    Builder::new().with_secret(key.to_vec()).with_step_duration(STEP_SECONDS).with_skew(SKEW_STEPS).build_noncompliant()
}

/// The step of a code that is good now. The caller refuses one that was used.
pub(super) fn step_of(key: &[u8], code: &str, now: Micros) -> Option<i64> {
    let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    let is_code = code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = u64::try_from(now / SECOND).ok()?;
    let step = is_code.then(|| generator(key).check(&code, seconds)).flatten()?;
    i64::try_from(step).ok()
}

/// The code of a moment, for whoever sets a second factor up at the command line and for tests.
#[cfg(test)]
pub(super) fn code_at(key: &[u8], now: Micros) -> String {
    generator(key).generate(u64::try_from(now / SECOND).unwrap_or_default()).to_string()
}

/// The key as people type it, and as apps read it from a picture.
pub(super) fn shown(key: &[u8], name: &str, issuer: &str) -> (SecretString, SecretString) {
    let secret = base32(key).to_uppercase();
    let (issuer, name) = (percent_encoded(issuer), percent_encoded(name));
    let url = format!("otpauth://totp/{issuer}:{name}?secret={secret}&issuer={issuer}&algorithm=SHA1&digits=6&period={STEP_SECONDS}");
    (url.into(), secret.into())
}

fn percent_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Five bits a letter, the last one filled up with zeros.
fn base32(bytes: &[u8]) -> String {
    let mut text = String::new();
    let (mut bits, mut count) = (0_u32, 0_u32);
    for byte in bytes {
        bits = (bits << 8 | u32::from(*byte)) & 0xffff;
        count += 8;
        while count >= 5 {
            count -= 5;
            text.extend(LETTERS.get((bits >> count & 31) as usize));
        }
    }
    if count > 0 {
        text.extend(LETTERS.get((bits << (5 - count) & 31) as usize));
    }
    text
}

/// New recovery codes, and what is kept of them.
pub(super) fn recovery() -> Result<(Recovery, Vec<Vec<u8>>), AccessError> {
    let mut codes = Vec::new();
    let mut hashes = Vec::new();
    for _ in 0..RECOVERY_CODES {
        let letters = base32(&random::<RECOVERY_BYTES>()?);
        hashes.push(sha256(letters.as_bytes()).to_vec());
        let quarters: Vec<String> = letters.chars().collect::<Vec<_>>().chunks(4).map(|part| part.iter().collect()).collect();
        codes.push(quarters.join("-").into());
    }
    Ok((Recovery(codes), hashes))
}

/// What is kept of a text that may be a recovery code; none if it can't be one.
pub(super) fn recovery_hash(text: &str) -> Option<[u8; 32]> {
    let letters: String = text.chars().filter(|c| !c.is_whitespace() && *c != '-').flat_map(char::to_lowercase).collect();
    let is_code = letters.chars().count() == RECOVERY_BYTES * 8 / 5 && letters.chars().all(|c| LETTERS.contains(&c));
    is_code.then(|| sha256(letters.as_bytes()))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    /// RFC 6238 appendix B, the last six of the eight digits.
    #[test]
    fn the_codes_are_those_of_the_rfc() {
        let key = b"12345678901234567890";
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000_i64, "353130"),
        ] {
            assert_eq!(code_at(key, seconds * SECOND), code);
            assert_eq!(step_of(key, code, seconds * SECOND), Some(seconds / 30));
            assert_eq!(step_of(key, code, (seconds + 30) * SECOND), Some(seconds / 30));
            assert_eq!(step_of(key, code, (seconds + 90) * SECOND), None);
        }
        for wrong in ["", "287083", "28708", "2870822", "２８７０８２", "94287082"] {
            assert_eq!(step_of(key, wrong, 59 * SECOND), None, "{wrong}");
        }
        assert_eq!(step_of(key, "287 082", 59 * SECOND), Some(1));
    }

    /// RFC 4648 section 10.
    #[test]
    fn letters_are_those_of_the_rfc() {
        for (bytes, text) in
            [("f", "my"), ("fo", "mzxq"), ("foo", "mzxw6"), ("foob", "mzxw6yq"), ("fooba", "mzxw6ytb"), ("foobar", "mzxw6ytboi")]
        {
            assert_eq!(base32(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn an_app_can_read_it() {
        let (url, secret) = shown(b"12345678901234567890", "ann", "xmpp-archiver at a.example");
        assert_eq!(secret.expose_secret(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        let expected = "otpauth://totp/xmpp-archiver%20at%20a.example:ann?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=";
        assert!(url.expose_secret().starts_with(expected));
    }

    #[test]
    fn recovery_codes_are_known_however_they_are_typed() {
        let (codes, hashes) = recovery().unwrap();
        assert_eq!((codes.0.len(), hashes.len()), (RECOVERY_CODES, RECOVERY_CODES));
        let code = codes.0[0].expose_secret();
        assert_eq!(code.len(), 19);
        for typed in [code.to_owned(), code.to_uppercase(), code.replace('-', " "), format!(" {} ", code.replace('-', ""))] {
            assert_eq!(recovery_hash(&typed).unwrap().to_vec(), hashes[0], "{typed}");
        }
        assert_eq!(recovery_hash("123456"), None);
        assert_eq!(recovery_hash(&"1".repeat(16)), None);
    }
}
